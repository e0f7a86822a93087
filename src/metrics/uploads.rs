//! What is counted about uploads: how much of them lies in files, which is what the temporary folder has to hold.
//!
//! What is in memory is no part of it. A file is counted from its first byte until it is gone.

use prometheus::IntGauge;

use super::Metrics;

/// What is counted about uploads.
#[derive(Clone)]
pub struct UploadMetrics {
    stored: IntGauge,
}

impl Metrics {
    /// Registers what is counted about uploads.
    ///
    /// # Errors
    /// If that was done before.
    pub fn uploads(&self) -> Result<UploadMetrics, prometheus::Error> {
        let stored = IntGauge::new(
            "aoai_proxy_upload_file_bytes",
            "Bytes of uploads that lie in files of the temporary folder.",
        )?;
        self.registry.register(Box::new(stored.clone()))?;
        Ok(UploadMetrics { stored })
    }
}

impl UploadMetrics {
    /// Notes bytes that are about to be written to a file.
    pub fn stored(&self, bytes: u64) {
        self.stored.add(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Notes the end of a file with this many bytes.
    pub fn freed(&self, bytes: u64) {
        self.stored.sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
