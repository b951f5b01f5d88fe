//! Which remote write a body is: by its content type, or by itself.
//!
//! The two versions are different messages that share no field's number, on purpose: 1.0 has its series in field 1 and
//! metadata in field 3, 2.0 has its symbols in field 4 and its series in field 5.

use super::error::{Problem, WireError};
use super::reader::{DELIMITED, Reader, key};

/// A version of remote write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    V1,
    V2,
}

impl Protocol {
    /// The version whose message a content type names with `proto=`; none when it names no message.
    ///
    /// # Errors
    /// The message that it names instead.
    pub fn of_content_type(content_type: &str) -> Result<Option<Protocol>, &str> {
        let named = content_type.split(';').find_map(|part| part.trim().strip_prefix("proto="));
        match named.map(|proto| proto.trim_matches('"')) {
            None => Ok(None),
            Some("prometheus.WriteRequest") => Ok(Some(Protocol::V1)),
            Some("io.prometheus.write.v2.Request") => Ok(Some(Protocol::V2)),
            Some(other) => Err(other),
        }
    }

    /// The version of a decompressed body, by the first field that one of them has. One without any field is an empty 1.0.
    ///
    /// # Errors
    /// When it is no message, or one of other fields alone: taken for an empty request, it would be lost in silence.
    pub fn of_body(body: &[u8]) -> Result<Protocol, WireError> {
        const V1_FIELDS: [u32; 2] = [key(1, DELIMITED), key(3, DELIMITED)];
        const V2_FIELDS: [u32; 2] = [key(4, DELIMITED), key(5, DELIMITED)];
        let mut reader = Reader::new(body);
        while !reader.is_done() {
            match reader.key()? {
                found if V1_FIELDS.contains(&found) => return Ok(Protocol::V1),
                found if V2_FIELDS.contains(&found) => return Ok(Protocol::V2),
                other => reader.skip(other, &[1, 3, 4, 5])?,
            }
        }
        if body.is_empty() { Ok(Protocol::V1) } else { reader.error(Problem::NoRemoteWrite) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Sample, Timestamp};
    use crate::wire::{remote_write_v1, remote_write_v2};

    #[test]
    fn content_types_name_messages() {
        let of = Protocol::of_content_type;
        assert_eq!(of("application/x-protobuf"), Ok(None));
        assert_eq!(of("application/x-protobuf;proto=prometheus.WriteRequest"), Ok(Some(Protocol::V1)));
        assert_eq!(of("application/x-protobuf; proto=\"io.prometheus.write.v2.Request\""), Ok(Some(Protocol::V2)));
        assert_eq!(of("application/x-protobuf;proto=io.prometheus.write.v3.Request"), Err("io.prometheus.write.v3.Request"));
    }

    #[test]
    fn bodies_tell_their_version() {
        let series = [(Labels::from_pairs([("__name__", "a")]), vec![Sample { t: Timestamp(1), v: 1.0 }])];
        let of = |body: &[u8]| Protocol::of_body(body).map_err(|error| error.problem().clone());
        assert_eq!(of(&remote_write_v1::encode(&series)), Ok(Protocol::V1));
        assert_eq!(of(&remote_write_v2::encode(&series)), Ok(Protocol::V2));
        assert_eq!(of(&[]), Ok(Protocol::V1));
        assert_eq!(of(&[0x1a, 0]), Ok(Protocol::V1), "metadata alone");
        // A field that neither has stands before the first that one has, or alone.
        assert_eq!(of(&[0x32, 1, 7, 0x2a, 0]), Ok(Protocol::V2));
        assert_eq!(of(&[0x32, 1, 7]), Err(Problem::NoRemoteWrite));
        assert_eq!(of(&[0x08, 7]), Err(Problem::WireTypeWrong { field: 1, wire_type: 0 }));
        assert_eq!(of(&[0x0a]), Ok(Protocol::V1), "what is wrong behind the key is told by whoever reads it");
        assert_eq!(of(b"{\"value\": 1}"), Err(Problem::Group { field: 15 }));
    }
}
