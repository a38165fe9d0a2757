//! Credentials that follow their files while the node runs.
//!
//! Files are replaced one after the other, so that for a moment they do not belong together. Certificate and key change
//! when all files verify as one; until then, and if they never do, what was in force stays. CAs and lists do not wait
//! for the node's own files: one that is broken must not keep revoked nodes in the herd.

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
use super::{CredentialsError, Loaded, Seen, Texts, load_texts};

/// How often the files are looked at. A revocation takes effect within five seconds of the change of its file; what
/// remains of them is for closing connections.
const LOOK: Duration = Duration::from_secs(1);

/// How long files that do not belong together may be ones of which the last is still to come.
const SETTLING: Duration = Duration::from_secs(5);

/// How often files that were refused are judged again while they stay the same: the clock may have been wrong.
const JUDGE_AGAIN: Duration = Duration::from_secs(60);

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
    let Loaded { seen, texts, credentials } = load_texts(env, files).await?;
    let current = watch::Sender::new(Arc::new(credentials));
    let live = LiveCredentials(Arc::new(Shared { current, refused: Mutex::new(None), look: Notify::new() }));
    let watch = CredentialsWatch {
        env: env.clone(),
        files: files.clone(),
        live: live.clone(),
        in_force: Arc::new(texts),
        judged: seen,
        judged_at: env.now(),
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
    in_force: Arc<Texts>,
    /// The digest of the files that were judged last, and when that was.
    judged: Digest,
    judged_at: Instant,
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
        let (now, known) = (self.env.now(), self.judged);
        let again = self.live.refused().is_some() && now >= self.judged_at + JUDGE_AGAIN;
        let due = look == Look::Asked || again;
        let (disk, files, old) = (self.env.disk().clone(), self.files.clone(), self.live.current());
        let in_force = Arc::clone(&self.in_force);
        let judge = move || {
            let seen = Seen::read(&*disk, &files);
            let digest = seen.digest();
            (due || digest != known).then(|| (digest, Judged::of(seen, &files, &in_force, &old)))
        };
        if let Some((digest, Judged { new, refused })) = self.env.blocking(judge).await {
            (self.judged, self.judged_at) = (digest, now);
            if let Some((texts, credentials)) = new {
                self.take(texts, credentials);
            }
            self.live.set_refused(refused.map(|error| error.to_string()));
        }
        self.complain(look);
    }

    fn take(&mut self, texts: Texts, credentials: Credentials) {
        self.in_force = Arc::new(texts);
        self.reminder.handle_change();
        let not_after_unix_s = credentials.not_after_unix_s();
        let lists_end_unix_s = credentials.lists_end_unix_s();
        tracing::info!(
            identity = %credentials.identity(), not_after_unix_s, lists_end_unix_s, "new credentials are in force"
        );
        self.live.0.current.send_replace(Arc::new(credentials));
    }

    fn complain(&mut self, look: Look) {
        let Some(error) = self.live.refused() else {
            self.complaint = Complaint::default();
            return;
        };
        if self.complaint.handle_refusal(self.judged, look, self.env.now()) {
            tracing::error!(
                %error,
                "the changed credentials are not used, but for CAs and lists that hold; those from before stay in force"
            );
        }
    }
}

/// What comes of files that were looked at.
struct Judged {
    /// What is in force from now on, if it is something else.
    new: Option<(Texts, Credentials)>,
    /// Why that is not all of the files.
    refused: Option<CredentialsError>,
}

impl Judged {
    fn of(seen: Seen, files: &IdentityFiles, in_force: &Texts, old: &Credentials) -> Self {
        let trust = Self::trust(&seen, in_force);
        let whole = seen.texts().and_then(|texts| {
            let renewed = texts.renew(files, old)?;
            Ok((texts, renewed))
        });
        match whole {
            Ok((texts, renewed)) => {
                let new = (texts != *in_force).then_some((texts, renewed));
                Self { new, refused: None }
            }
            Err(error) => {
                let renewed = trust.into_iter().find_map(|texts| {
                    let renewed = old.renew_trust(&texts.ca, texts.crl.as_deref()).ok()?;
                    Some((texts, renewed))
                });
                let new = renewed.filter(|(texts, _)| texts != in_force);
                Self { new, refused: Some(error) }
            }
        }
    }

    /// What may be in force where the files are not: certificate and key as before with the new CAs and lists, or with
    /// the new lists alone.
    fn trust(seen: &Seen, in_force: &Texts) -> Vec<Texts> {
        let crl = match &seen.crl {
            None => None,
            Some(Ok(crl)) => Some(crl.clone()),
            Some(Err(_)) => return Vec::new(),
        };
        let with_cas = seen.ca.as_ref().ok().map(|ca| Texts { ca: ca.clone(), ..in_force.clone() });
        let cas_first = with_cas.into_iter().chain([in_force.clone()]);
        cas_first.map(|texts| Texts { crl: crl.clone(), ..texts }).collect()
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
