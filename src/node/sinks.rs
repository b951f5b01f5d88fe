//! The sinks of a node: made from its configuration, reading its store, and the rules in force.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use super::assembly::Node;
use super::config::{HeaderSource, HeaderText, SinkConfig};
use super::queries::Queries;
use crate::sink::{ReadCatalog, ReadHeaders, SinkOptions, SinkStatus, Sinks};

/// A value in a file is no longer than this.
const VALUE_BYTES_MAX: u64 = 64 << 10;

impl Node {
    /// Starts the sinks, where there is a store of results to read. Needs a tokio runtime, and where the node listens.
    ///
    /// # Errors
    /// What of a sink cannot be started, and what to do.
    pub fn start_sinks(&self, local: SocketAddr) -> Result<(), String> {
        let Some(queries) = &self.queries else { return Ok(()) };
        for sink in self.config.sinks.iter().filter(|sink| is_at(&sink.url, local)) {
            tracing::warn!(
                sink = %sink.name,
                "the sink writes to this process itself: its results become samples that rules may select again"
            );
        }
        let options = self.config.sinks.iter().map(options).collect::<Result<_, _>>()?;
        let proxy = Arc::clone(&queries.proxy);
        let catalog: ReadCatalog = Arc::new(move || proxy.catalog.load_full());
        *queries.sinks.lock() = Some(Sinks::start(options, &queries.store, &catalog, &self.clock)?);
        Ok(())
    }
}

impl Queries {
    /// What is known of each; none before they are started, or after they have stopped.
    pub fn sink_statuses(&self) -> Vec<Arc<SinkStatus>> {
        self.sinks.lock().as_ref().map(|sinks| sinks.statuses.clone()).unwrap_or_default()
    }

    /// Stops them, the requests under way first if they end soon. Blocks, on a thread of a tokio runtime.
    pub(super) fn stop_sinks(&self) {
        let sinks = self.sinks.lock().take();
        if let Some(sinks) = sinks {
            tokio::runtime::Handle::current().block_on(sinks.stop());
        }
    }
}

fn options(sink: &SinkConfig) -> Result<SinkOptions, String> {
    let headers = read_headers(sink);
    // What cannot be read now is wrong, not late.
    headers().map_err(|error| format!("sink {}: {error}", sink.name))?;
    Ok(SinkOptions {
        name: sink.name.clone(),
        url: sink.url.clone(),
        protocol: sink.protocol,
        headers,
        timeout: Duration::from_millis(sink.timeout.0.unsigned_abs()),
        from: sink.from,
        uncovered: sink.uncovered,
        samples_per_request_max: sink.samples_per_request_max,
        bytes_per_request_max: usize::try_from(sink.bytes_per_request_max.0).unwrap_or(usize::MAX),
    })
}

fn read_headers(sink: &SinkConfig) -> ReadHeaders {
    let headers = sink.headers.clone();
    Arc::new(move || {
        let read = |(name, text): (&String, &HeaderText)| {
            let value = match text {
                HeaderText::Value(secret) => Ok(secret.reveal().to_owned()),
                HeaderText::Source(source) => value_of(source).map_err(|error| format!("header {name}: {error}")),
            };
            value.map(|value| (name.clone(), value))
        };
        headers.iter().map(read).collect()
    })
}

fn value_of(source: &HeaderSource) -> Result<String, String> {
    if let Some(file) = &source.file {
        let length = std::fs::metadata(file).map(|metadata| metadata.len());
        let length = length.map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        if length > VALUE_BYTES_MAX {
            return Err(format!("{} has {length} bytes, and a header at most {VALUE_BYTES_MAX}", file.display()));
        }
        let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        return Ok(text.trim().to_owned());
    }
    let name = source.env.as_deref().unwrap_or_default();
    std::env::var(name).map_err(|error| format!("the environment variable {name}: {error}"))
}

/// Whether an address is where this process listens.
fn is_at(url: &str, local: SocketAddr) -> bool {
    let Some(authority) = url.split_once("://").and_then(|(_, rest)| rest.split('/').next()) else { return false };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let Ok(addresses) = host.to_socket_addrs() else { return false };
    let mut addresses = addresses.filter(|address| address.port() == local.port());
    addresses.any(|address| address.ip() == local.ip() || (local.ip().is_unspecified() && address.ip().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_writes_to_its_own_process_is_seen() {
        let local = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(is_at("http://127.0.0.1:9480/api/v1/write", local("127.0.0.1:9480")));
        assert!(is_at("http://u:p@127.0.0.1:9480/", local("0.0.0.0:9480")));
        for (url, at) in [
            ("http://127.0.0.1:9481/api/v1/write", "127.0.0.1:9480"),
            ("http://192.0.2.1:9480/", "127.0.0.1:9480"),
            ("http://192.0.2.1:9480/", "0.0.0.0:9480"),
            ("http://127.0.0.1/", "127.0.0.1:9480"),
        ] {
            assert!(!is_at(url, local(at)), "{url} {at}");
        }
    }

    #[test]
    fn values_of_headers_are_read_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "Bearer x\n").unwrap();
        let source = HeaderSource { file: Some(file.clone()), env: None };
        assert_eq!(value_of(&source).as_deref(), Ok("Bearer x"));
        std::fs::write(&file, "Bearer y").unwrap();
        assert_eq!(value_of(&source).as_deref(), Ok("Bearer y"), "another one is read");
        std::fs::write(&file, vec![b'x'; 70_000]).unwrap();
        assert!(value_of(&source).unwrap_err().contains("70000 bytes"));
        let path = HeaderSource { file: None, env: Some("PATH".to_owned()) };
        assert_eq!(value_of(&path).ok(), std::env::var("PATH").ok());
        let absent = HeaderSource { file: None, env: Some("PREFOLD_ABSENT".to_owned()) };
        assert!(value_of(&absent).unwrap_err().contains("PREFOLD_ABSENT"));
    }
}
