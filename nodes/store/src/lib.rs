//! The content store: blobs, piece maps, catalogue and the hash-chained log.
//!
//! - [`ContentStore`] keeps content by digest, whole or in parts, and says only what it has verified. What it has
//!   sealed survives a power loss; what it has recorded survives the death of the process.
//! - [`Catalogue`] is a small ordered map whose commits are durable: [`FjallCatalogue`] on a disk, [`MemoryCatalogue`]
//!   in simulations. It is never the only witness of anything.
//! - [`ChainedLog`] is the witness of what cannot be recomputed from content: an append-only file in which each record
//!   vouches for all before it.
//!
//! Every file carries a format number and the herd's name, and is refused if either is another. What to keep, what to
//! fetch and from whom is decided elsewhere.

pub mod catalogue;
pub mod chained_log;
pub mod content_store;
mod stamp;

pub use catalogue::{Batch, Catalogue, CatalogueError, FjallCatalogue, MemoryCatalogue};
pub use chained_log::{ChainedLog, LogError};
pub use content_store::{Begun, Buffer, Check, ContentStore, Partial, StoreError};
pub use stamp::StampError;
