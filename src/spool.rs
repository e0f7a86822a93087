//! Where an upload waits until an instance has taken it: a small one in memory, a larger one in a file without a name.
//!
//! An [`Intake`] takes what a client sends. Beyond [`BLOCK`] bytes it writes block after block to a file in the temporary
//! folder, so that an upload of any size takes a block of memory. The file has been unlinked when its first byte is
//! written: whatever ends the request or the process, nothing stays behind. [`Content`] is what came in the end; it can be
//! read as often as instances are tried, from any place.
//!
//! Files are created, written, read and closed on the blocking pool, since a disk may make anyone wait. What the bytes
//! mean, and what becomes of errors, is left to the callers.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::metrics::uploads::UploadMetrics;

/// Memory that an upload may take, and so the size of the pieces in which a larger one goes to its file. A quarter of a
/// megabyte is a minute of dictation in a common codec, and large enough for a trip to the blocking pool not to count.
pub const BLOCK: usize = 256 * 1024;

/// Room beyond a block for the piece that completes it, as the server reads from its sockets.
const LAST_PIECE: usize = 64 * 1024;

/// Where uploads may be put.
#[derive(Clone)]
pub struct Store {
    folder: PathBuf,
    metrics: UploadMetrics,
}

impl Store {
    /// Uses this folder.
    pub fn new(folder: PathBuf, metrics: UploadMetrics) -> Self {
        Self { folder, metrics }
    }

    /// Tries whether files can be written there. Blocks, so it is for the start.
    ///
    /// # Errors
    /// What the system says.
    pub fn check(&self) -> io::Result<()> {
        tempfile::tempfile_in(&self.folder)?.write_all(b"a byte")
    }

    /// Begins an upload of which this much is announced.
    pub fn intake(&self, announced: usize) -> Intake {
        Intake {
            held: BytesMut::with_capacity(announced.min(BLOCK + LAST_PIECE)),
            file: None,
            store: self.clone(),
        }
    }
}

/// Takes an upload in.
pub struct Intake {
    /// What is in no file.
    held: BytesMut,
    file: Option<Spool>,
    store: Store,
}

impl Intake {
    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Returns what has come and is in no file.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    /// Says whether there is enough of it to be written.
    pub fn is_full(&self) -> bool {
        self.held.len() >= BLOCK
    }

    /// Moves the first `count` bytes of what is held into the file; there are as many.
    ///
    /// # Errors
    /// If the folder is missing, not writable or full.
    pub async fn spill(&mut self, count: usize) -> io::Result<()> {
        let mut spool = match self.file.take() {
            Some(spool) => spool,
            None => Spool::create(self.store.clone()).await?,
        };
        let block = std::mem::take(&mut self.held);
        let file = spool.file.clone();
        let mut block = blocking(move || {
            file.as_ref()
                .write_all(block.get(..count).unwrap_or(&block))?;
            Ok(block)
        })
        .await?;
        spool.grew_by(count);
        block.advance(count);
        block.reserve((BLOCK + LAST_PIECE).saturating_sub(block.len()));
        self.held = block;
        self.file = Some(spool);
        Ok(())
    }

    /// Ends the upload.
    ///
    /// # Errors
    /// As [`Intake::spill`].
    pub async fn finish(mut self) -> io::Result<Content> {
        if self.file.is_some() {
            self.spill(self.held.len()).await?;
        }
        Ok(match self.file {
            Some(spool) => Content::Disk(Arc::new(spool)),
            None => Content::Memory(self.held.freeze()),
        })
    }
}

/// A whole upload.
#[derive(Clone)]
pub enum Content {
    /// A small one.
    Memory(Bytes),
    /// One in a file.
    Disk(Arc<Spool>),
}

impl Content {
    /// Returns its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Disk(spool) => spool.bytes,
        }
    }

    /// Says whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file without a name, and how much is in it.
pub struct Spool {
    file: Arc<File>,
    bytes: usize,
    metrics: UploadMetrics,
}

impl Spool {
    async fn create(store: Store) -> io::Result<Self> {
        let folder = store.folder;
        let file = blocking(move || tempfile::tempfile_in(folder)).await?;
        Ok(Self {
            file: Arc::new(file),
            bytes: 0,
            metrics: store.metrics,
        })
    }

    fn grew_by(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.metrics.stored(bytes);
    }

    /// Begins to read a range, which must lie inside, into a buffer, whatever is in that.
    pub fn read(&self, range: Range<usize>, buffer: BytesMut) -> JoinHandle<io::Result<Bytes>> {
        let file = self.file.clone();
        let mut piece = buffer;
        // Done where it will be dropped: allocators keep what one thread takes and another gives back.
        piece.resize(range.len(), 0);
        spawn_blocking(move || {
            file.read_exact_at(&mut piece, range.start as u64)?;
            Ok(piece.freeze())
        })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.metrics.freed(self.bytes);
        // Who lets go of it last closes it and gives the space back, which for a large file takes a while.
        let file = self.file.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

/// Runs file work where it makes nobody wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
