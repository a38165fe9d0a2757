//! Credentials that follow their files while the node runs.
//!
//! Files are replaced one after the other, so that for a moment they do not belong together. What is in force changes
//! when all of them verify as one; until then, and if they never do, what was in force stays.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdcq_certs::Credentials;
use rdcq_config::IdentityFiles;
use rdcq_env::{Env, watch};
use rdcq_wire::Digest;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::reminder::Reminder;
use super::{CredentialsError, Texts, load_texts};

/// How often the files are looked at. A revocation takes effect within five seconds of the change of its file; what
/// remains of them is for closing connections.
const LOOK: Duration = Duration::from_secs(1);

/// How long files that do not belong together may be ones of which the last is still to come.
const SETTLING: Duration = Duration::from_secs(5);

/// A node's credentials, as they are now. Clones share everything.
#[derive(Clone)]
pub struct LiveCredentials(Arc<Shared>);

struct Shared {
    current: watch::Sender<Arc<Credentials>>,
    refused: Mutex<Option<String>>,
    look: Notify,
}

impl LiveCredentials {
    /// What is in force.
    pub fn current(&self) -> Arc<Credentials> {
        self.0.current.subscribe().get()
    }

    /// What is in force from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Credentials>> {
        self.0.current.subscribe()
    }

    /// Has the files looked at now, and a set that does not belong together complained about at once.
    pub fn reload(&self) {
        self.0.look.notify_one();
    }

    /// Why what is in the files is not in force, if it is not.
    pub fn refused(&self) -> Option<String> {
        self.0.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_refused(&self, why: Option<String>) {
        *self.0.refused.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

impl fmt::Debug for LiveCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveCredentials").field(&self.current()).finish()
    }
}

/// Reads the files. What is in force follows them as long as the [`CredentialsWatch`] runs.
pub async fn watch_credentials(
    env: &Env,
    files: &IdentityFiles,
) -> Result<(LiveCredentials, CredentialsWatch), CredentialsError> {
    let (texts, credentials) = load_texts(env, files).await?;
    let in_force = texts.digest();
    let current = watch::Sender::new(Arc::new(credentials));
    let live = LiveCredentials(Arc::new(Shared { current, refused: Mutex::new(None), look: Notify::new() }));
    let watch = CredentialsWatch {
        env: env.clone(),
        files: files.clone(),
        live: live.clone(),
        in_force,
        complaint: Complaint::default(),
        reminder: Reminder::default(),
    };
    Ok((live, watch))
}

/// The task that looks at the files.
pub struct CredentialsWatch {
    env: Env,
    files: IdentityFiles,
    live: LiveCredentials,
    /// The texts that are in force.
    in_force: Digest,
    complaint: Complaint,
    reminder: Reminder,
}

/// Who wants the files looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Routine,
    /// Somebody waits to hear.
    Asked,
}

impl CredentialsWatch {
    /// Looks at the files until dropped.
    pub async fn run(mut self) -> Infallible {
        loop {
            let live = self.live.clone();
            self.reminder.handle_look(&live.current(), self.env.now(), self.env.unix_ms() / 1000);
            let look = tokio::select! {
                biased;
                () = live.0.look.notified() => Look::Asked,
                () = tokio::time::sleep(LOOK) => Look::Routine,
            };
            self.look(look).await;
        }
    }

    async fn look(&mut self, look: Look) {
        let (seen, outcome) = match Texts::read(&self.env, &self.files).await {
            Ok(texts) => (texts.digest(), self.renew(texts).await),
            Err(error) => (Digest::of(error.to_string().as_bytes()), Err(error)),
        };
        match outcome {
            Ok(None) => self.settled(),
            Ok(Some(credentials)) => {
                self.in_force = seen;
                self.settled();
                self.reminder.handle_change();
                let not_after_unix_s = credentials.not_after_unix_s();
                tracing::info!(identity = %credentials.identity(), not_after_unix_s, "new credentials are in force");
                self.live.0.current.send_replace(Arc::new(credentials));
            }
            Err(error) => self.refuse(look, seen, &error),
        }
    }

    /// The credentials in `texts`, if they are not in force already.
    async fn renew(&self, texts: Texts) -> Result<Option<Credentials>, CredentialsError> {
        if texts.digest() == self.in_force {
            return Ok(None);
        }
        let (files, old) = (self.files.clone(), self.live.current());
        self.env.blocking(move || texts.renew(&files, &old)).await.map(Some)
    }

    fn settled(&mut self) {
        self.complaint = Complaint::default();
        self.live.set_refused(None);
    }

    fn refuse(&mut self, look: Look, seen: Digest, error: &CredentialsError) {
        self.live.set_refused(Some(error.to_string()));
        if self.complaint.handle_refusal(seen, look, self.env.now()) {
            tracing::error!(%error, "the changed credentials are not used, those from before stay in force");
        }
    }
}

/// What was said about files that are not used: each state of them is complained about once, and none in the first
/// moment, in which the rest of a change may still come.
#[derive(Debug, Default)]
struct Complaint {
    since: Option<Instant>,
    said: Option<Digest>,
}

impl Complaint {
    /// Whether to say something about `seen`.
    fn handle_refusal(&mut self, seen: Digest, look: Look, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let due = look == Look::Asked || now >= since + SETTLING;
        if !due || (self.said == Some(seen) && look == Look::Routine) {
            return false;
        }
        self.said = Some(seen);
        true
    }
}

#[cfg(test)]
mod tests;
