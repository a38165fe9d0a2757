//! What every role answers alike.

use std::sync::Arc;

use rdcq_transport::{IncomingCall, Refusal, Service};
use rdcq_wire::Kind;
use rdcq_wire::message::{Meter, Reload, Reloaded, Status};

use crate::{Insight, Reloads};

/// A role's service, and the answers to what is the same for all roles: [`Status`], [`Meter`] and [`Reload`].
pub(crate) struct Common<S> {
    service: Arc<S>,
    insight: Insight,
    reloads: Reloads,
}

impl<S> Common<S> {
    pub(crate) const fn new(service: Arc<S>, insight: Insight, reloads: Reloads) -> Self {
        Self { service, insight, reloads }
    }

    async fn status(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Status {} = call.request()?;
        let (report, body) = self.insight.aside(Insight::report).await;
        call.reply(&report, vec![body.into()]).await
    }

    async fn meter(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Meter {} = call.request()?;
        let (metered, body) = self.insight.aside(Insight::metered).await;
        call.reply(&metered, vec![body.into()]).await
    }

    async fn reload(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Reload {} = call.request()?;
        let by = &call.peer().node;
        tracing::info!(target: "rdcq::audit", %by, "the settings are to be read anew");
        let settings = self.reloads.order().await?;
        call.reply(&Reloaded::new(self.insight.identity().node.clone(), settings), Vec::new()).await
    }
}

impl<S: Service> Service for Common<S> {
    async fn call(self: Arc<Self>, call: IncomingCall) -> Result<(), Refusal> {
        match call.kind() {
            // Boxed: other requests are not to take the memory that these need.
            Kind::Status => Box::pin(self.status(call)).await,
            Kind::Meter => Box::pin(self.meter(call)).await,
            Kind::Reload => Box::pin(self.reload(call)).await,
            _ => Arc::clone(&self.service).call(call).await,
        }
    }
}
