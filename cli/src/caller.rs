//! Who asks, and which herd: what `push`, `pull` and the rest begin with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdcq_certs::{Credentials, PeerError};
use rdcq_client::Session;
use rdcq_config::{BandwidthConfig, Config};
use rdcq_runtime::{BandwidthPlan, CredentialsError, Host, LiveBandwidth, load_credentials};
use rdcq_wire::{Class, HerdId, Role, TagKey};

use crate::agents_file::AgentChoice;
use crate::console::Console;
use crate::failure::{Exit, Failure};
use crate::settings::{self, OPERATOR, Places};
use crate::signals::{Hangup, Signals};
use crate::{private_key, up_folder};

/// The close of a connection is sent by a task of its own, for which the process has to live a little longer. Servers
/// that do not hear of it would wait for the caller's idle timeout.
const FAREWELL: Duration = Duration::from_millis(10);

/// Whose certificate a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Whatever the settings name.
    Client,
    /// An operator's: where the settings name another's, the `operator.toml` beside them.
    Operator,
}

/// A session with a herd.
pub(crate) struct Caller {
    pub(crate) session: Session,
    pub(crate) herd: HerdId,
    bandwidth: BandwidthConfig,
}

impl Caller {
    /// Finds the herd and says which it is; nobody is called yet.
    pub(crate) async fn open(
        console: &Console,
        herd: Option<&OsStr>,
        rights: Rights,
        agent: Option<AgentChoice>,
    ) -> Result<Self, Failure> {
        let host = Host::system();
        let Member { mut settings, mut config, mut credentials } =
            Member::read(&host, Places::of_environment(herd)?.find()?).await?;
        let operator = settings.with_file_name(OPERATOR);
        let wanting = rights == Rights::Operator && !credentials.identity().roles.contains(Role::Operator);
        if wanting && operator.exists() {
            let found = Member::read(&host, operator).await?;
            let own = credentials.judge(&[found.credentials.certificate()]);
            own.map_err(|error| not_of_this_herd(&settings, &found.settings, &error))?;
            Member { settings, config, credentials } = found;
        }
        let herd = credentials.identity().herd.clone();
        console.note(format_args!("herd {herd} ({})", settings.display()));
        let agent = match agent {
            Some(choice) => choice.addr(&settings)?,
            None => config.client.unwrap_or_default().agent,
        };
        let plan = BandwidthPlan::of(config.bandwidth.as_ref())
            .map_err(|error| Failure::other(error.to_string()))?;
        LiveBandwidth::new(&host.env, host.bandwidth.clone(), plan);
        let session = Session::open(&host, &credentials, config.herd, Some(agent))?;
        Ok(Self { session, herd, bandwidth: config.bandwidth.unwrap_or_default() })
    }

    /// The session in which a tag is pushed or pulled: of the class that is wanted, else that of the tag's group.
    pub(crate) fn session_for(&self, key: &TagKey, wanted: Option<Class>) -> Session {
        self.session.with_class(wanted.or_else(|| self.bandwidth.class_of(key)).unwrap_or_default())
    }

    /// Does `work` with the session, unless a signal comes first, and ends the session either way.
    pub(crate) async fn attend<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let done = Signals::listen(Hangup::Ends)?.or(work).await;
        self.session.close();
        tokio::time::sleep(FAREWELL).await;
        done
    }
}

fn not_of_this_herd(named: &Path, operator: &Path, error: &PeerError) -> Failure {
    let (named, operator) = (named.display(), operator.display());
    let what = format!("{named} is no operator's, and {operator} beside it is of another herd: {error}");
    Failure::new(Exit::Denied, what)
        .with_hint("--herd names the settings of an operator of the herd that is meant")
}

/// What a settings file says, read and found sound.
struct Member {
    settings: PathBuf,
    config: Config,
    credentials: Credentials,
}

impl Member {
    async fn read(host: &Host, settings: PathBuf) -> Result<Self, Failure> {
        up_folder::check_running(&settings)?;
        let config = settings::read(&settings)?;
        private_key::check(&config.identity.key)?;
        // A caller without a certificate that the herd knows is told what the herd would say.
        let denied = |error: CredentialsError| Failure::new(Exit::Denied, error.to_string());
        let credentials = load_credentials(&host.env, &config.identity).await.map_err(denied)?;
        Ok(Self { settings, config, credentials })
    }
}
