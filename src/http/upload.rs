//! Taking in a form with files: walked while it comes, and put where it takes no memory.
//!
//! It is sent on only once it is whole. Nothing would be gained by sending it while it comes: its `model` may stand behind
//! the file, as Node's client has it, so there may be nobody to send it to before its end; a refusal is read only after
//! the last byte has gone out, and by then all that was sent is needed again for the next instance. And much would be lost:
//! tokens are reserved for as long as a request is out, and a client that sends slowly would hold them, and its
//! connection to Azure, for as long as it takes. So no instance is asked before the upload is here.

use super::body::Incoming;
use super::inference::rejected;
use crate::error::{ApiError, Code};
use crate::openai::multipart::{self, Form, Scanner};
use crate::spool::{BLOCK, Content, Store, StoreError};

/// Reads a form whose content-type is `kind`.
pub(super) async fn read(
    mut incoming: Incoming,
    kind: &[u8],
    store: &Store,
) -> Result<(Form, Content), ApiError> {
    let boundary = multipart::boundary(kind).map_err(rejected)?;
    let mut scanner = Scanner::new(boundary);
    let intake = store.intake(incoming.announced());
    let mut intake = intake.map_err(|error| cannot_store(&error))?;
    while let Some(chunk) = incoming.next().await? {
        intake.take(&chunk);
        if intake.is_full() {
            let walked = scanner.scan(intake.held()).map_err(rejected)?;
            intake
                .spill(walked)
                .await
                .map_err(|error| cannot_store(&error))?;
        }
    }
    scanner.scan(intake.held()).map_err(rejected)?;
    let form = scanner.finish().map_err(rejected)?;
    let content = intake.finish().await;
    Ok((form, content.map_err(|error| cannot_store(&error))?))
}

/// The log has all that the system says, the client what kind of trouble it is: paths are none of its business.
fn cannot_store(error: &StoreError) -> ApiError {
    let (why, is_final) = match error {
        StoreError::NoRoom { needed, free, most } => {
            log::warn!(needed, free, most; "an upload is refused: MAX_UPLOAD_STORAGE_BYTES leaves no room for it");
            let why = format!(
                "of the {most} bytes that MAX_UPLOAD_STORAGE_BYTES sets for all uploads together {free} are free, and \
                 {needed} are needed"
            );
            (why, needed > most)
        }
        StoreError::System(error) => {
            log::error!(error:%; "an upload cannot be written to the temporary folder, which TMPDIR names");
            let kind = error.kind();
            (
                format!("in the temporary folder, which TMPDIR names, the system says: {kind}"),
                false,
            )
        }
    };
    let message =
        format!("The proxy cannot store the upload, which is larger than {BLOCK} bytes: {why}.");
    let error = ApiError::new(Code::InsufficientStorage, message);
    match is_final {
        true => error.with_no_retry(),
        false => error,
    }
}
