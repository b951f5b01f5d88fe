//! What librdkafka knows and its Rust wrapper does not offer: a topic's id, offsets with their log times, commits that are
//! waited for no longer than we like, and metadata that may be anything.
//!
//! With `bell.rs` the only unsafe code of the crate. Each call makes a request and waits for its event; what it was made with and the event
//! are owned by guards that free them, and everything is copied out before they do. Pointers come from librdkafka, which
//! keeps what it returns alive as long as the event, and are read only after a check for null.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};

use super::client::whole_ms;

const NO_ERROR: sys::rd_kafka_resp_err_t = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// What librdkafka has for an offset that nobody told; -1 is told of what is not there.
const UNANSWERED: i64 = -1001;

/// A topic as the cluster knows it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Described {
    /// Zero where the cluster gives none.
    pub id: u128,
    pub partitions: usize,
}

/// Which offset of a partition is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Of the oldest record kept.
    First,
    /// Of the next record that will be appended.
    Next,
    /// Of the record with the newest log time.
    Newest,
    /// Of the first record whose log time is at least this.
    Since(i64),
}

/// An offset, and the log time of its record where one was asked for by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Negative when there is no such record.
    pub offset: i64,
    pub timestamp: i64,
}

/// How long an answer is waited for.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub wait: Duration,
    /// Nobody wants the answer any more once this is set.
    pub ended: Option<&'a AtomicBool>,
}

/// How often somebody who waits looks whether the answer is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Something of librdkafka that is freed with this.
pub(super) struct Owned<T> {
    ptr: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Errors
    /// When there is nothing to own.
    pub fn new(ptr: *mut T, free: unsafe extern "C" fn(*mut T)) -> Result<Owned<T>, String> {
        if ptr.is_null() { Err("librdkafka gave nothing".to_owned()) } else { Ok(Owned { ptr, free }) }
    }

    /// Alive as long as this.
    pub fn ptr(&self) -> *mut T {
        self.ptr
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the function that `free` belongs to, is not null, and is freed only here.
        unsafe { (self.free)(self.ptr) }
    }
}

/// What the cluster says of a topic; `None` when there is none.
///
/// # Errors
/// In librdkafka's words.
pub(super) fn describe<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    patience: Patience<'_>,
) -> Result<Option<Described>, String> {
    let name = CString::new(topic).map_err(|error| error.to_string())?;
    // SAFETY: the client outlives the call; every pointer handed over is alive until the guards go, after the event.
    unsafe {
        let names = &mut [name.as_ptr()];
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)?;
        let call = Call::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, patience.wait)?;
        #[cfg(test)]
        call.ask_a_broker();
        sys::rd_kafka_DescribeTopics(client.native_ptr(), topics.ptr, call.options.ptr, call.queue.ptr);
        let event = await_event(&call.queue, patience)?;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.ptr);
        let mut count = 0;
        let described = match result.is_null() {
            true => return Err("an answer to another question".to_owned()),
            false => sys::rd_kafka_DescribeTopics_result_topics(result, &mut count),
        };
        if described.is_null() || count != 1 || (*described).is_null() {
            return Err(format!("{count} topics were described"));
        }
        let error = sys::rd_kafka_TopicDescription_error(*described);
        match if error.is_null() { NO_ERROR } else { sys::rd_kafka_error_code(error) } {
            NO_ERROR => {}
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => return Ok(None),
            _ => return Err(text(sys::rd_kafka_error_string(error))),
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(*described, &mut partitions);
        let id = sys::rd_kafka_TopicDescription_topic_id(*described);
        let id = match id.is_null() {
            true => 0,
            false => {
                let (high, low) =
                    (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id));
                u128::from(high as u64) << 64 | u128::from(low as u64)
            }
        };
        Ok(Some(Described { id, partitions }))
    }
}

/// Offsets of partitions, each named once, in their order.
///
/// # Errors
/// In librdkafka's words, when the answer of one of them is missing.
pub(super) fn offsets<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    wanted: &[(u16, Wanted)],
    patience: Patience<'_>,
) -> Result<Vec<Found>, String> {
    let name = CString::new(topic).map_err(|error| error.to_string())?;
    // SAFETY: as above; librdkafka copies the list of partitions before the call returns.
    unsafe {
        let list = sys::rd_kafka_topic_partition_list_new(wanted.len() as i32);
        let list = Owned::new(list, sys::rd_kafka_topic_partition_list_destroy)?;
        for (partition, wanted) in wanted {
            let added = sys::rd_kafka_topic_partition_list_add(list.ptr, name.as_ptr(), i32::from(*partition));
            (*added).offset = wanted.code();
        }
        let call = Call::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, patience.wait)?;
        sys::rd_kafka_ListOffsets(client.native_ptr(), list.ptr, call.options.ptr, call.queue.ptr);
        let event = await_event(&call.queue, patience)?;
        let result = sys::rd_kafka_event_ListOffsets_result(event.ptr);
        let mut count = 0;
        let infos = match result.is_null() {
            true => return Err("an answer to another question".to_owned()),
            false => sys::rd_kafka_ListOffsets_result_infos(result, &mut count),
        };
        let mut found = vec![None; wanted.len()];
        for index in 0..if infos.is_null() { 0 } else { count } {
            let info = *infos.add(index);
            let of = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            if of.is_null() {
                continue;
            }
            if (*of).err != NO_ERROR {
                return Err(format!("partition {}: {}", (*of).partition, text(sys::rd_kafka_err2str((*of).err))));
            }
            // So it stands where the leader was asked and has not answered: that is no error of the partition's.
            if (*of).offset == UNANSWERED {
                return Err(format!("partition {}: its leader has not answered", (*of).partition));
            }
            let timestamp = sys::rd_kafka_ListOffsetsResultInfo_timestamp(info);
            let place = wanted.iter().position(|(partition, _)| i32::from(*partition) == (*of).partition);
            if let Some(place) = place {
                found[place] = Some(Found { offset: (*of).offset, timestamp });
            }
        }
        let missing = || "an answer without some of the partitions".to_owned();
        found.into_iter().map(|found| found.ok_or_else(missing)).collect()
    }
}

impl Wanted {
    /// As the protocol has it.
    fn code(self) -> i64 {
        match self {
            Wanted::First => -2,
            Wanted::Next => -1,
            Wanted::Newest => -3,
            Wanted::Since(log_time) => log_time.max(0),
        }
    }
}

/// A request's options, and the queue on which its answer comes.
struct Call {
    options: Owned<sys::rd_kafka_AdminOptions_t>,
    queue: Owned<sys::rd_kafka_queue_t>,
}

impl Call {
    /// # Safety
    /// The client must be alive.
    unsafe fn new<C: ClientContext>(
        client: &Client<C>,
        operation: sys::rd_kafka_admin_op_t,
        wait: Duration,
    ) -> Result<Call, String> {
        // SAFETY: what the caller promises; the buffer is as long as it is said to be.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(client.native_ptr(), operation);
            let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy)?;
            let mut problem: [c_char; 256] = [0; 256];
            let wait_ms = wait.as_millis() as i32;
            let set =
                sys::rd_kafka_AdminOptions_set_request_timeout(options.ptr, wait_ms, problem.as_mut_ptr(), problem.len());
            if set != NO_ERROR {
                return Err(text(problem.as_ptr()));
            }
            let queue = Owned::new(sys::rd_kafka_queue_new(client.native_ptr()), sys::rd_kafka_queue_destroy)?;
            Ok(Call { options, queue })
        }
    }
}

#[cfg(test)]
impl Call {
    /// Tests beside the code have brokers of librdkafka's mock alone, of which none says that it is the controller.
    fn ask_a_broker(&self) {
        let mut problem: [c_char; 256] = [0; 256];
        // SAFETY: the options are ours, and the buffer is as long as it is said to be.
        let set = unsafe { sys::rd_kafka_AdminOptions_set_broker(self.options.ptr, 1, problem.as_mut_ptr(), problem.len()) };
        assert_eq!(set, NO_ERROR);
    }
}

/// The answer that comes on a queue, if it is one.
///
/// # Safety
/// The client of the queue must be alive.
unsafe fn await_event(
    queue: &Owned<sys::rd_kafka_queue_t>,
    patience: Patience<'_>,
) -> Result<Owned<sys::rd_kafka_event_t>, String> {
    let began = Instant::now();
    // A little longer than the request itself may take: its own error says more.
    let wait = patience.wait + Duration::from_secs(1);
    loop {
        let left = wait.saturating_sub(began.elapsed());
        // SAFETY: the queue is ours, and the event is freed by its guard alone.
        unsafe {
            let event = sys::rd_kafka_queue_poll(queue.ptr, whole_ms(left.min(LOOK_EVERY)).as_millis() as i32);
            if !event.is_null() {
                let event = Owned::new(event, sys::rd_kafka_event_destroy)?;
                return match sys::rd_kafka_event_error(event.ptr) {
                    NO_ERROR => Ok(event),
                    _ => Err(text(sys::rd_kafka_event_error_string(event.ptr))),
                };
            }
        }
        if left.is_zero() {
            return Err("no answer in time".to_owned());
        }
        if patience.ended.is_some_and(|ended| ended.load(Ordering::Acquire)) {
            return Err("the answer is not waited for: this process is closing".to_owned());
        }
    }
}

/// Commits offsets of a consumer's group, each with its metadata.
///
/// # Errors
/// In librdkafka's words: when the coordinator has refused them, or has not answered in time. They may be committed then all
/// the same.
pub(super) fn commit<C: ClientContext>(
    client: &Client<C>,
    offsets: &TopicPartitionList,
    patience: Patience<'_>,
) -> Result<(), String> {
    // SAFETY: the client outlives the call; librdkafka copies the list, and no callback is handed over.
    unsafe {
        let queue = Owned::new(sys::rd_kafka_queue_new(client.native_ptr()), sys::rd_kafka_queue_destroy)?;
        let refused = sys::rd_kafka_commit_queue(client.native_ptr(), offsets.ptr(), queue.ptr, None, std::ptr::null_mut());
        if refused != NO_ERROR {
            return Err(text(sys::rd_kafka_err2str(refused)));
        }
        let event = await_event(&queue, patience)?;
        let list = sys::rd_kafka_event_topic_partition_list(event.ptr);
        let count = if list.is_null() { 0 } else { (*list).cnt.max(0) as usize };
        let errors = (0..count).map(|index| (*(*list).elems.add(index)).err);
        errors
            .filter(|error| *error != NO_ERROR)
            .map(|error| Err(text(sys::rd_kafka_err2str(error))))
            .next()
            .unwrap_or(Ok(()))
    }
}

/// The metadata of each offset of a list, as far as it is text: the wrapper takes it for granted that it is.
pub(super) fn metadata(offsets: &TopicPartitionList) -> Vec<String> {
    // SAFETY: the list is alive; librdkafka keeps so many elements in it, and so many bytes behind each pointer.
    unsafe {
        let list = offsets.ptr();
        let of = |index: usize| {
            let element = (*list).elems.add(index);
            let (ptr, len) = ((*element).metadata.cast::<u8>(), (*element).metadata_size);
            let bytes = if ptr.is_null() { &[][..] } else { std::slice::from_raw_parts(ptr, len) };
            String::from_utf8_lossy(bytes).into_owned()
        };
        (0..offsets.count()).map(of).collect()
    }
}

/// # Safety
/// The pointer must be null or point to a text that ends with a zero.
unsafe fn text(ptr: *const c_char) -> String {
    if ptr.is_null() {
        return "unknown error".to_owned();
    }
    // SAFETY: what the caller promises.
    unsafe { CStr::from_ptr(ptr) }.to_string_lossy().into_owned()
}
