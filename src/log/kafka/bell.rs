//! A bell: it rings when a client of librdkafka has something to be polled for.
//!
//! The wrapper's own polls wait in whole milliseconds and ask without a pause over what is left of one, so a process with a
//! dozen clients that poll twenty times a second takes a hundredth of a core for nothing. Who waits for a bell sleeps until
//! there is something, and polls without waiting. As in `native.rs`, the code is unsafe because the wrapper does not offer
//! this for producers.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::native::Owned;

/// Rings from when it is made until it is dropped. A client has one at most: a second silences the first.
pub(super) struct Bell<P> {
    queue: Owned<sys::rd_kafka_queue_t>,
    rung: Receiver<()>,
    /// What librdkafka calls us with: it stays where it is until the queue is told to forget it.
    ring: Box<Sender<()>>,
    /// The client, which must outlive its queue: the last to be dropped.
    polled: Arc<P>,
}

// SAFETY: librdkafka's queues may be used and freed on any thread.
unsafe impl<P: Send + Sync> Send for Bell<P> {}

impl<C: ProducerContext> Bell<BaseProducer<C>> {
    /// For what became of a producer's records, its errors and its log.
    ///
    /// # Errors
    /// When librdkafka gives no queue.
    pub fn of_producer(polled: Arc<BaseProducer<C>>) -> Result<Bell<BaseProducer<C>>, String> {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_get_main(polled.client().native_ptr()) };
        Bell::over(queue, polled)
    }
}

impl<C: ConsumerContext> Bell<BaseConsumer<C>> {
    /// For a consumer's records, rebalances, errors and log.
    ///
    /// # Errors
    /// When librdkafka gives no queue.
    pub fn of_consumer(polled: Arc<BaseConsumer<C>>) -> Result<Bell<BaseConsumer<C>>, String> {
        // SAFETY: the client is alive.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(polled.client().native_ptr()) };
        Bell::over(queue, polled)
    }
}

impl<P> Bell<P> {
    /// Over a queue of the client that is ours to give up.
    fn over(queue: *mut sys::rd_kafka_queue_t, polled: Arc<P>) -> Result<Bell<P>, String> {
        let queue = Owned::new(queue, sys::rd_kafka_queue_destroy)?;
        let (ring, rung) = bounded(1);
        let bell = Bell { queue, rung, ring: Box::new(ring), polled };
        let opaque: *const Sender<()> = &*bell.ring;
        // SAFETY: the queue is alive, and what it is to call with lives as long as this, which has the queue forget it first.
        unsafe { sys::rd_kafka_queue_cb_event_enable(bell.queue.ptr(), Some(on_event), opaque.cast_mut().cast()) };
        Ok(bell)
    }

    /// The client.
    pub fn polled(&self) -> &P {
        &self.polled
    }

    /// Whether there is something to be polled for.
    fn is_due(&self) -> bool {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_length(self.queue.ptr()) > 0 }
    }

    /// Waits until there is something to be polled for, somebody has sent a word, or for so long. False when nobody is left who
    /// could send one.
    pub fn wait(&self, words: &Receiver<()>, patience: Duration) -> bool {
        // The bell rings when the queue was empty, not for each of what comes.
        if self.is_due() {
            return words.try_recv() != Err(TryRecvError::Disconnected);
        }
        select! {
            recv(words) -> word => word.is_ok(),
            recv(self.rung) -> _ => true,
            default(patience) => true,
        }
    }
}

impl<P> Drop for Bell<P> {
    fn drop(&mut self) {
        // SAFETY: the queue is alive. It calls under its lock, which this takes: it is in no call afterwards.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.queue.ptr(), None, std::ptr::null_mut()) };
    }
}

/// Called on librdkafka's threads, under the lock of the queue.
unsafe extern "C" fn on_event(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: what `Bell::over` handed over, which is alive until the queue has forgotten it.
    let ring = unsafe { &*opaque.cast::<Sender<()>>() };
    let _ = ring.try_send(());
}

#[cfg(test)]
mod tests {
    use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

    use super::*;

    #[test]
    fn it_rings_for_what_comes_wakes_for_words_and_ends_with_who_sends_them() {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Emerg);
        // Nobody listens there: the client says so.
        let producer: BaseProducer = config.set("bootstrap.servers", "127.0.0.1:1").create().unwrap();
        let bell = Bell::of_producer(Arc::new(producer)).unwrap();
        let (send, words) = bounded(1);
        let never = Duration::from_secs(u64::from(u32::MAX));
        assert!(bell.wait(&words, never));
        // Until it was polled for, that is still so.
        assert!(bell.wait(&words, never));
        while bell.is_due() {
            bell.polled().poll(Duration::ZERO);
        }
        send.send(()).unwrap();
        assert!(bell.wait(&words, never));
        assert!(bell.wait(&words, Duration::ZERO), "a wait that ends is no end");
        drop(send);
        assert!(!bell.wait(&words, never));
    }
}
