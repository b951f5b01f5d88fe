//! Sinks: results are also sent by remote write, under the record names of their rules.
//!
//! A sink reads the store and nothing else, so it works wherever there is one. It sends what is final, and that never
//! changes: every value once it is there, and a staleness marker where a series has none any more.
//!
//! What a receiver may rely on:
//! - **In order**: the samples of a series are sent in the order of their times, one request after the other.
//! - **Nothing is left out** of what is final, but for what spans uncover where that is configured, for what the receiver
//!   itself refuses, and for what retention has passed before it could be sent.
//! - **One value per time**: what is sent again, after an answer that was lost or a process that was killed, is the same.
//!
//! A sink that cannot deliver waits and tries again without end; it holds up no other one, and nothing of the stream.

mod batch;
mod delivery;
mod derive;
mod ledger;
mod options;
mod publication;
mod remote;
mod request;
mod retry;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::model::Clock;
use crate::store::Store;
use batch::Book;
use delivery::Delivery;

pub use batch::ReadCatalog;
pub use options::{From, Protocol, ReadHeaders, SinkOptions, Uncovered};
pub use status::{SinkStatus, Trouble};

/// How often the store is looked at once everything was sent.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long to wait when the store cannot be read or written.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// The running sinks.
pub struct Sinks {
    pub statuses: Vec<Arc<SinkStatus>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Sinks {
    /// Starts them, each as a task of its own. Needs a tokio runtime.
    ///
    /// # Errors
    /// When a sink's positions are damaged, or no client can be made.
    pub fn start(
        options: Vec<SinkOptions>,
        store: &Arc<Store>,
        catalog: &ReadCatalog,
        clock: &Arc<dyn Clock>,
    ) -> Result<Sinks, String> {
        let (stop, stopped) = watch::channel(false);
        let mut sinks = Sinks { statuses: Vec::new(), stop, tasks: Vec::new() };
        for options in options {
            let status = Arc::new(SinkStatus::new(&options.name, &options.url));
            let named = |error: String| format!("sink {}: {error}", status.name);
            let delivery =
                Delivery::new(&options, Arc::clone(clock), Arc::clone(&status), stopped.clone()).map_err(named)?;
            let (store, catalog, clock) = (Arc::clone(store), Arc::clone(catalog), Arc::clone(clock));
            let book = Book::open(options, store, catalog, clock, Arc::clone(&status)).map_err(named)?;
            sinks.tasks.push(tokio::spawn(run(book, delivery)));
            sinks.statuses.push(status);
        }
        Ok(sinks)
    }

    /// Lets requests under way come to their end, if that is soon, and stops.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Sends batch after batch. The book goes to a thread where waiting for the disk holds nobody up, and comes back.
async fn run(mut book: Book, mut delivery: Delivery) {
    loop {
        let (returned, next) = match on_disk(book, Book::next).await {
            Some(found) => found,
            None => return,
        };
        book = returned;
        let pause = match next {
            Ok(mut batch) if !batch.is_empty() => match delivery.deliver(&mut batch).await {
                true => {
                    book.settle(batch);
                    Duration::ZERO
                }
                false => break,
            },
            Ok(_) => LOOK_EVERY,
            Err(error) => {
                delivery.trouble(format!("results cannot be read or its positions not be written: {error}"));
                STORE_RETRY
            }
        };
        if delivery.stopped_within(pause).await {
            break;
        }
    }
    if let Some((_, Err(error))) = on_disk(book, Book::save).await {
        tracing::warn!(%error, "a sink stops without its last position; what it sent last is sent again at the next start");
    }
}

/// `None` when the runtime is ending.
async fn on_disk<T: Send + 'static>(
    mut book: Book,
    work: impl FnOnce(&mut Book) -> T + Send + 'static,
) -> Option<(Book, T)> {
    spawn_blocking(move || {
        let done = work(&mut book);
        (book, done)
    })
    .await
    .ok()
}
