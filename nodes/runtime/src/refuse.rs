//! What a caller is told when something below a handler fails.

use rdcq_store::StoreError;
use rdcq_transport::CallError;
use rdcq_wire::ErrorCode;
use rdcq_wire::message::Failure;

/// A failed call to another node, as the caller of ours sees it. What the other node said is passed on.
pub fn failure_of_call(whom: &str, error: CallError) -> Failure {
    match error {
        CallError::Failed(failure) => failure,
        error => Failure::new(error.code(), format!("the {whom} did not answer: {error}")),
    }
}

/// A failed operation of the content store.
pub fn failure_of_store(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::NoSpace { .. } => ErrorCode::NoSpace,
        // What is not all here, or was dropped, is here again after another offer.
        StoreError::NotHeld { .. } | StoreError::Incomplete { .. } | StoreError::Removed(_) => {
            ErrorCode::NotFound
        }
        // The other manifest may be the wrong one; it goes with its lease.
        StoreError::OtherManifest { .. } => ErrorCode::Busy,
        StoreError::WrongBytes { .. } | StoreError::WrongContent { .. } => ErrorCode::Integrity,
        _ => ErrorCode::Internal,
    };
    Failure::new(code, error.to_string())
}
