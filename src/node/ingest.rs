//! Ingest's place in the node: what the configuration says of it.

use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use crate::ingest::gateway::{Gateway, GatewayOptions};
use crate::ingest::limits::SeriesLimits;
use crate::ingest::remote_write::{Receiver, ReceiverOptions};
use crate::log::Log;
use crate::model::Clock;
use crate::store::Store;

/// A body must arrive within this.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The gateway, which knows the senders of the commit.
pub fn gateway(config: &Config, log: &Arc<dyn Log>, clock: &Arc<dyn Clock>, store: &Store) -> Arc<Gateway> {
    let options = GatewayOptions {
        limits: SeriesLimits {
            labels_per_series_max: config.limits.labels_per_series_max,
            label_name_bytes_max: config.limits.label_name_bytes_max,
            label_value_bytes_max: config.limits.label_value_bytes_max,
        },
        senders_max: config.limits.senders_max,
        senders: store.senders().into_iter().map(|seen| (seen.tenant, seen.sender)).collect(),
        drop_labels: config.ingest.drop_labels.clone(),
        sender_labels: config.ingest.sender_labels.clone(),
    };
    Arc::new(Gateway::new(Arc::clone(log), Arc::clone(clock), options))
}

/// What receives remote write.
pub fn receiver(config: &Config, gateway: &Arc<Gateway>) -> Receiver {
    let options = ReceiverOptions {
        body_bytes_max: config.ingest.body_bytes_max.0 as usize,
        sender_header: config.ingest.sender_header.clone(),
        body_timeout: BODY_TIMEOUT,
    };
    Receiver { gateway: Arc::clone(gateway), options }
}
