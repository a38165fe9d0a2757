//! Serving whole content to agents that fetch it together: what an origin does beyond [`content`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdcq_env::Env;
use rdcq_store::ContentStore;
use rdcq_swarm::{Asked, Claim};
use rdcq_transport::{IncomingCall, Refusal};
use rdcq_wire::message::{Complete, Decline, Declined, Failure, Have, Watch};
use rdcq_wire::{Digest, ErrorCode, List, Role};

use crate::Uploads;
use crate::content::{self, Wanted};
use crate::spreads::{Seat, Spreads};
use crate::uploads::UnderWay;

/// Serves whole content to agents. Each is offered other pieces, for an agent knows only some of those that fetch the same, and
/// what none of these holds all of them would ask for.
pub struct Seed {
    store: ContentStore,
    uploads: Uploads,
    spreads: Spreads,
}

impl Seed {
    /// Serves what is in a store.
    pub fn new(env: Env, store: ContentStore) -> Self {
        Self { store, uploads: Uploads::new(env.clone()), spreads: Spreads::new(env) }
    }

    /// Answers [`Watch`]: to an agent with what it may ask for, piece by piece, if the content is whole here.
    pub async fn watch(&self, call: IncomingCall) -> Result<(), Refusal> {
        let Watch { digest } = call.request()?;
        if !call.peer().roles.contains(Role::Agent) || !self.store.is_complete(&digest) {
            return content::watch(&self.store, call).await;
        }
        let manifest = self.store.manifest(&digest).ok_or_else(|| content::not_here(&digest))?;
        let seat = self.spreads.join(&digest, &manifest, &call.peer().node);
        self.offer(&digest, seat, call).await
    }

    /// Answers [`Decline`]: what comes to an agent from others is not offered before the rest.
    pub async fn decline(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Decline { digest, spans } = call.request()?;
        self.spreads.declined(&digest, &call.peer().node, &spans);
        call.reply(&Declined {}, Vec::new()).await
    }

    /// Answers [`GetPieces`](rdcq_wire::message::GetPieces): what an agent was offered it gets at once.
    pub async fn get_pieces(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let wanted = Wanted::of(&self.store, &call)?;
        if call.peer().roles.contains(Role::Agent) {
            self.admit(&mut call, &wanted).await?;
        }
        wanted.send(&self.store, call).await
    }
}

impl Seed {
    /// Tells an agent of what it is offered, until it has heard enough.
    async fn offer(&self, digest: &Digest, mut seat: Seat, mut call: IncomingCall) -> Result<(), Refusal> {
        let have = |spans| Have { spans, complete: Complete::Partial };
        // That it is not to ask for everything.
        call.reply(&have(List::default()), Vec::new()).await?;
        loop {
            tokio::select! {
                biased;
                () = call.cancelled() => return Err(Refusal::Gone),
                () = call.draining() => return Err(Failure::new(ErrorCode::ShuttingDown, "going away").into()),
                span = seat.offers.recv() => match span {
                    Some(_) if !self.store.is_complete(digest) => return Err(content::not_here(digest).into()),
                    Some(span) => call.reply(&have(List::first_of([span])), Vec::new()).await?,
                    // The same agent has begun to listen anew.
                    None => return Ok(()),
                },
            }
        }
    }

    /// Waits until it is an agent's turn.
    async fn admit(&self, call: &mut IncomingCall, wanted: &Wanted) -> Result<(), Refusal> {
        let (node, span) = (call.peer().node.clone(), wanted.span);
        let digest = wanted.digest;
        // Who does not listen fetches with nobody, and has nobody else to ask.
        let Some(asked) = self.spreads.asked(&digest, &node, span) else { return Ok(()) };
        let claim = match asked {
            Asked::Offered => Claim::Offered,
            Asked::Due => Claim::Due,
            Asked::Out => Claim::Usual,
        };
        let under_way = Arc::new(Mutex::new(None));
        let told = {
            let (spreads, under_way) = (self.spreads.clone(), Arc::clone(&under_way));
            move |end| {
                let under_way: Option<UnderWay> = locked(&under_way).take();
                if let Some(under_way) = under_way {
                    under_way.end(end);
                }
                spreads.ended(&digest, &node, span, end);
            }
        };
        match claim {
            // An offer that was taken up is to be made to another also if its agent gives up while it waits.
            Claim::Offered => {
                call.on_end(told);
                let turn = self.uploads.admit(call, claim, wanted).await?;
                *locked(&under_way) = Some(turn);
            }
            Claim::Usual | Claim::Due => {
                let turn = self.uploads.admit(call, claim, wanted).await?;
                *locked(&under_way) = Some(turn);
                call.on_end(told);
            }
        }
        self.spreads.accepted(&digest, asked, span, self.uploads.rate(), call.round_trip());
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
