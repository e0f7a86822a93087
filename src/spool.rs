//! Where an upload waits until an instance has taken it: a small one in memory, a larger one in a file without a name.
//!
//! An [`Intake`] takes what a client sends. Beyond [`BLOCK`] bytes it writes block after block to a file in the temporary
//! folder, so that an upload of any size takes a block of memory. The file has been unlinked when its first byte is
//! written: whatever ends the request or the process, nothing stays behind. [`Content`] is what came in the end; it can be
//! read as often as instances are tried, from any place.
//!
//! All files together take no more than the store has room for. It is taken as bytes come, and given back when a file is
//! gone; what is only announced takes none.
//!
//! Files are created, written, read and closed on the blocking pool, since a disk may make anyone wait. What the bytes
//! mean, and what becomes of errors, is left to the callers.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    room: Arc<Room>,
}

/// The room for all files of a store.
struct Room {
    most: u64,
    taken: AtomicU64,
    metrics: UploadMetrics,
}

/// Why an upload cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It would take more than there is room for.
    #[error("{needed} bytes are needed and {free} of {most} free")]
    NoRoom {
        /// What it needs in all, as far as that is known.
        needed: u64,
        /// What other uploads leave.
        free: u64,
        /// The room for all uploads together.
        most: u64,
    },
    /// What the system says.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Store {
    /// Uses this folder, for up to `most` bytes of all uploads together.
    pub fn new(folder: PathBuf, most: u64, metrics: UploadMetrics) -> Self {
        let room = Arc::new(Room {
            most,
            taken: AtomicU64::new(0),
            metrics,
        });
        Self { folder, room }
    }

    /// Tries whether files can be written there. Blocks, so it is for the start.
    ///
    /// # Errors
    /// What the system says.
    pub fn check(&self) -> io::Result<()> {
        tempfile::tempfile_in(&self.folder)?.write_all(b"a byte")
    }

    /// Begins an upload of which this much is announced.
    ///
    /// # Errors
    /// If that does not fit beside what is stored now.
    pub fn intake(&self, announced: usize) -> Result<Intake, StoreError> {
        if announced > BLOCK {
            self.room.check(announced as u64)?;
        }
        Ok(Intake {
            held: BytesMut::with_capacity(announced.min(BLOCK + LAST_PIECE)),
            file: None,
            store: self.clone(),
        })
    }
}

impl Room {
    /// Checks for room beside what is taken.
    fn check(&self, needed: u64) -> Result<(), StoreError> {
        let free = self.free_beside(self.taken.load(Ordering::Relaxed));
        match needed > free {
            true => Err(self.too_small(needed, free)),
            false => Ok(()),
        }
    }

    fn free_beside(&self, taken: u64) -> u64 {
        self.most.saturating_sub(taken)
    }

    fn too_small(&self, needed: u64, free: u64) -> StoreError {
        let most = self.most;
        StoreError::NoRoom { needed, free, most }
    }
}

/// What one file takes of the room, until it is gone.
struct Share {
    room: Arc<Room>,
    bytes: AtomicU64,
}

impl Share {
    fn grow(&self, bytes: u64) -> Result<(), StoreError> {
        let room = &self.room;
        let with = |taken: u64| taken.checked_add(bytes).filter(|all| *all <= room.most);
        let took = room
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, with);
        if let Err(taken) = took {
            let own = self.bytes.load(Ordering::Relaxed);
            let free = room.free_beside(taken.saturating_sub(own));
            return Err(room.too_small(own + bytes, free));
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        room.metrics.stored(bytes);
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.room.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.room.metrics.freed(bytes);
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
    /// If the folder is missing, not writable or full, or the store has no room.
    pub async fn spill(&mut self, count: usize) -> Result<(), StoreError> {
        let mut spool = match self.file.take() {
            Some(spool) => spool,
            None => Spool::create(&self.store).await?,
        };
        spool.kept.share.grow(count as u64)?;
        let block = std::mem::take(&mut self.held);
        let kept = spool.kept.clone();
        let mut block = blocking(move || {
            let mut file = &kept.file;
            file.write_all(block.get(..count).unwrap_or(&block))?;
            Ok(block)
        })
        .await?;
        spool.bytes += count;
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
    pub async fn finish(mut self) -> Result<Content, StoreError> {
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
    kept: Arc<Kept>,
    bytes: usize,
}

/// A file and the room that it takes, which is free only once the file is closed: so they are dropped in this order.
struct Kept {
    file: File,
    share: Share,
}

impl Spool {
    async fn create(store: &Store) -> io::Result<Self> {
        let folder = store.folder.clone();
        let file = blocking(move || tempfile::tempfile_in(folder)).await?;
        let share = Share {
            room: store.room.clone(),
            bytes: AtomicU64::new(0),
        };
        Ok(Self {
            kept: Arc::new(Kept { file, share }),
            bytes: 0,
        })
    }

    /// Begins to read a range, which must lie inside, into a buffer, whatever is in that.
    pub fn read(&self, range: Range<usize>, buffer: BytesMut) -> JoinHandle<io::Result<Bytes>> {
        let kept = self.kept.clone();
        let mut piece = buffer;
        // Done where it will be dropped: allocators keep what one thread takes and another gives back.
        piece.resize(range.len(), 0);
        spawn_blocking(move || {
            kept.file.read_exact_at(&mut piece, range.start as u64)?;
            Ok(piece.freeze())
        })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Who lets go of it last closes it and gives the space back, which for a large file takes a while.
        let kept = self.kept.clone();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(kept));
        }
    }
}

/// Runs file work where it makes nobody wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
