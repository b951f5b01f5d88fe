//! Importing: bodies that others left in a topic become records of the log, many bodies at a time, by the way of remote
//! write.
//!
//! Nobody waits for an answer here, and nobody sends again. What remote write would answer with "come again later" is an
//! error, and whoever imports tries again; what it would refuse for good is skipped and told, and a record among the others
//! says that something is missing. One bad body must not cost the others: what cannot be encoded together is encoded in
//! halves.

use std::cell::RefCell;

use super::encoding::{EncodeError, Encoding};
use super::gateway::{Gateway, Origin, WriteError, Written};
use super::limits::RefusalReason;
use super::records::Encoded;
use crate::log::{AppendError, NewRecord};
use crate::wire::{JsonSample, Problem, Protocol, WireError, snappy};

/// What the bodies of a topic are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImportFormat {
    /// Remote write 1.0 or 2.0, compressed with snappy or not.
    RemoteWrite,
    /// One sample a body, as prometheus-kafka-adapter writes it.
    Json,
}

/// A body, and what is said of it.
#[derive(Clone, Copy, Debug)]
pub struct ImportBody<'b> {
    pub payload: &'b [u8],
    pub content_type: Option<&'b str>,
}

/// What bodies become.
#[derive(Default)]
pub struct Imported {
    pub records: Vec<NewRecord>,
    pub written: Written,
    /// Bodies that were refused as a whole: their places, why, and what is wrong.
    pub refused: Vec<(usize, RefusalReason, String)>,
}

impl Imported {
    fn take(&mut self, encoded: Encoded) {
        self.records.extend(encoded.records);
        self.written.samples += encoded.written.samples;
        self.written.refused.extend(encoded.written.refused);
    }

    fn refuse(&mut self, place: usize, reason: RefusalReason, error: String) {
        self.refused.push((place, reason, error));
    }
}

impl Gateway {
    /// Turns bodies of at most so many bytes, unpacked too, into records. `gone` says that others were lost before them.
    ///
    /// # Errors
    /// What may pass: there is no room for the bodies, or for another sender.
    pub fn encode_import(
        &self,
        origin: &Origin,
        format: ImportFormat,
        bodies: &[ImportBody<'_>],
        body_bytes_max: usize,
        gone: bool,
    ) -> Result<Imported, WriteError> {
        if !self.is_labelled(origin) {
            self.check_sender(origin).map_err(WriteError::NotAdmitted)?;
        }
        let mut imported = Imported::default();
        let mut fitting = Vec::with_capacity(bodies.len());
        for (place, body) in bodies.iter().enumerate() {
            match body.payload.len() {
                0 => imported.refuse(place, RefusalReason::BodyMalformed, Problem::Empty.to_string()),
                bytes if bytes > body_bytes_max => {
                    imported.refuse(place, RefusalReason::BodyTooLarge, format!("{bytes} bytes, at most {body_bytes_max}"));
                }
                _ => fitting.push((place, *body)),
            }
        }
        match format {
            ImportFormat::RemoteWrite => self.import_requests(origin, &fitting, body_bytes_max, &mut imported)?,
            ImportFormat::Json => self.import_samples(origin, &fitting, &mut imported)?,
        }
        if let Some(reason) = self.missing(origin, &imported, gone) {
            imported.records.extend(self.unreadable(origin, reason));
        }
        Ok(imported)
    }

    /// Why samples are missing that views may have shown, if that is to be noted now: bodies that cannot be read as those of
    /// requests are, records that were deleted each time.
    fn missing(&self, origin: &Origin, imported: &Imported, gone: bool) -> Option<RefusalReason> {
        let labelled = self.is_labelled(origin);
        if gone {
            return self.senders.is_known(origin, labelled).then_some(RefusalReason::RecordsGone);
        }
        let refused = imported.refused.iter().map(|(_, reason, _)| *reason).max();
        refused.filter(|_| self.senders.is_unreadable_due(origin, labelled, self.clock.now()))
    }

    /// Appends what bodies became; the same may be appended again after an error.
    ///
    /// # Errors
    /// When the log did not take it.
    pub async fn append_import(&self, records: Vec<NewRecord>) -> Result<(), AppendError> {
        self.append(records).await
    }

    /// Counts what was appended, and what was refused.
    pub fn count_import(&self, imported: &Imported) {
        self.counters.count(&imported.written);
        imported.refused.iter().for_each(|(_, reason, _)| self.counters.refuse(*reason, 1));
    }

    fn import_requests(
        &self,
        origin: &Origin,
        bodies: &[(usize, ImportBody<'_>)],
        bytes_max: usize,
        imported: &mut Imported,
    ) -> Result<(), WriteError> {
        // They are unpacked one after the other.
        let unpacked = bodies.iter().filter_map(|(_, body)| snappy::claimed_len(body.payload, bytes_max).ok()).max();
        let mut held = self.bodies.hold();
        held.grow(unpacked.unwrap_or(0)).map_err(WriteError::BodiesFull)?;
        let buffer = RefCell::new(self.buffers.take());
        let take = |encoding: &mut Encoding<'_>, body: &ImportBody<'_>| {
            let mut buffer = buffer.borrow_mut();
            let request = unpack(body.payload, bytes_max, &mut buffer)?;
            match protocol(body.content_type, request)? {
                Protocol::V1 => encoding.request_v1(request),
                Protocol::V2 => encoding.request_v2(request),
            }
        };
        let outcome = self.together(origin, bodies, &take, imported);
        self.buffers.give_back(buffer.into_inner());
        outcome
    }

    fn import_samples(
        &self,
        origin: &Origin,
        bodies: &[(usize, ImportBody<'_>)],
        imported: &mut Imported,
    ) -> Result<(), WriteError> {
        let mut samples = Vec::with_capacity(bodies.len());
        for (place, body) in bodies {
            match JsonSample::parse(body.payload) {
                Ok(sample) => samples.push((*place, sample)),
                Err(error) => imported.refuse(*place, RefusalReason::BodyMalformed, error.problem().to_string()),
            }
        }
        let take = |encoding: &mut Encoding<'_>, read: &JsonSample<'_>| Ok(encoding.sample(read.labels(), read.sample)?);
        self.together(origin, &samples, &take, imported)
    }

    /// Encodes bodies as one request; where one of them is refused, in halves.
    fn together<T>(
        &self,
        origin: &Origin,
        bodies: &[(usize, T)],
        take: &impl Fn(&mut Encoding<'_>, &T) -> Result<(), EncodeError>,
        imported: &mut Imported,
    ) -> Result<(), WriteError> {
        if bodies.is_empty() {
            return Ok(());
        }
        let encoded = self.with_table(|table, split| {
            let mut encoding = Encoding::new(self, origin, table, split);
            bodies.iter().try_for_each(|(_, body)| take(&mut encoding, body))?;
            encoding.finish()
        });
        let error = match encoded.and_then(|encoded| self.fitting(encoded)) {
            Ok(encoded) => {
                self.remember(origin, &encoded.senders);
                imported.take(encoded);
                return Ok(());
            }
            Err(error) => error,
        };
        let Some(reason) = error.lost() else { return Err(error) };
        if let [(place, _)] = bodies {
            imported.refuse(*place, reason, error.to_string());
            return Ok(());
        }
        let (first, second) = bodies.split_at(bodies.len() / 2);
        self.together(origin, first, take, imported)?;
        self.together(origin, second, take, imported)
    }

    /// What the log will never take must be known before the append: it holds many bodies.
    fn fitting(&self, encoded: Encoded) -> Result<Encoded, WriteError> {
        let bytes_max = self.log.record_bytes_max();
        match encoded.records.iter().map(|record| record.payload.len()).max() {
            Some(bytes) if bytes > bytes_max => Err(WriteError::Append(AppendError::TooLarge { bytes, bytes_max })),
            _ => Ok(encoded),
        }
    }
}

/// The body as a message: unpacked if it is snappy's, else as it stands. A message with a sample is not mistaken for
/// snappy's: it would have to unpack to as few bytes as the number of its first key says.
fn unpack<'b>(payload: &'b [u8], bytes_max: usize, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], WireError> {
    match snappy::decompress_into(payload, bytes_max, buffer) {
        Ok(()) => Ok(buffer),
        Err(error) if matches!(error.problem(), Problem::TooLarge { .. }) => Err(error),
        Err(_) => Ok(payload),
    }
}

/// What the content type says of a message, or else the message itself.
fn protocol(content_type: Option<&str>, message: &[u8]) -> Result<Protocol, WireError> {
    let unknown = |proto: &str| Problem::ProtoUnknown { proto: proto.to_owned() };
    match content_type.map_or(Ok(None), Protocol::of_content_type).map_err(unknown)? {
        Some(named) => Ok(named),
        None => Protocol::of_body(message),
    }
}
