//! What a node stands on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rdcq_env::Env;
use rdcq_store::{Catalogue, CatalogueError, FjallCatalogue, MemoryCatalogue};
use rdcq_transport::{Bandwidth, Network, Udp};
use rdcq_wire::HerdId;

use crate::Reloads;

/// Clock, randomness, disk, executors, network, bandwidth, catalogues, and the way to its settings. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// Clock, randomness, disk and executors.
    pub env: Env,
    /// Where endpoints are opened.
    pub network: Arc<dyn Network>,
    /// What the node may move.
    pub bandwidth: Bandwidth,
    /// What keeps small durable records.
    pub catalogues: Catalogues,
    /// Where operators ask for settings to be read anew.
    pub reloads: Reloads,
}

impl Host {
    /// The machine's own.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn system() -> Self {
        let env = Env::system();
        let bandwidth = Bandwidth::unlimited(&env);
        let network = Arc::new(Udp::default());
        Self { env, network, bandwidth, catalogues: Catalogues::Fjall, reloads: Reloads::default() }
    }

    /// Opens the catalogue in a folder.
    pub async fn open_catalogue(
        &self,
        folder: &Path,
        herd: &HerdId,
    ) -> Result<Arc<dyn Catalogue>, CatalogueError> {
        match &self.catalogues {
            Catalogues::Fjall => {
                Ok(Arc::new(FjallCatalogue::open(&self.env, folder.to_owned(), herd).await?))
            }
            Catalogues::Memory(opened) => {
                let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(Arc::new(opened.entry(folder.to_owned()).or_default().clone()))
            }
        }
    }
}

/// What keeps small durable records.
#[derive(Clone)]
pub enum Catalogues {
    /// fjall, which has threads and files of its own.
    Fjall,
    /// The in-memory model of it, one a folder, which outlives the node that opened it.
    Memory(Arc<Mutex<BTreeMap<PathBuf, MemoryCatalogue>>>),
}

impl Catalogues {
    /// Models, none opened yet.
    pub fn memory() -> Self {
        Self::Memory(Arc::default())
    }
}
