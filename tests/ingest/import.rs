//! Bodies that others left in a topic: whatever they are wrapped in, they become what a request would have become, and a bad
//! one costs nothing but itself.
//!
//! Sees: a framing or a version that is misread, a sample lost with a bad neighbour, a refusal that is not told. Cannot see:
//! how bodies come from Kafka; those tests are of the brokers.

use prefold::ingest::import::{ImportBody, ImportFormat, Imported};

use super::*;
use crate::promql::random::Random;

const BYTES_MAX: usize = 1 << 20;

fn topic(named: bool) -> Origin {
    Origin { tenant: Tenant::from("t"), sender: "import:x".into(), named }
}

fn plain(payload: &[u8]) -> ImportBody<'_> {
    ImportBody { payload, content_type: None }
}

/// Encodes bodies and appends what they become.
async fn import(world: &World, origin: &Origin, format: ImportFormat, bodies: &[&[u8]]) -> Result<Imported, WriteError> {
    let bodies: Vec<ImportBody<'_>> = bodies.iter().map(|body| plain(body)).collect();
    let imported = world.gateway.encode_import(origin, format, &bodies, BYTES_MAX, false)?;
    world.gateway.append_import(imported.records.clone()).await.unwrap();
    world.gateway.count_import(&imported);
    Ok(imported)
}

/// Places and reasons of bodies that were refused.
fn refused(imported: &Imported) -> Vec<(usize, &'static str)> {
    let mut refused: Vec<_> = imported.refused.iter().map(|(place, reason, _)| (*place, reason.slug())).collect();
    refused.sort_unstable();
    refused
}

fn json(name: &str, rest: &str) -> Vec<u8> {
    let text = r#"{"timestamp":"1970-01-01T00:00:05Z","value":"1","name":"NAME","labels":{REST}}"#;
    text.replace("NAME", name).replace("REST", rest).into_bytes()
}

#[tokio::test]
async fn bodies_become_what_requests_become_whatever_they_are_wrapped_in() {
    let series = [of(&[("__name__", "a"), ("job", "j")]), of(&[("__name__", "b"), ("replica", "r")]), of(&[("x", "1")])];
    let options = || GatewayOptions { drop_labels: vec!["replica".to_owned()], ..GatewayOptions::default() };
    let by_http = World::new(options());
    let (v1, v2) = (remote_write_v1::encode(&series), remote_write_v2::encode(&series));
    let written = by_http.gateway.write(&topic(true), Protocol::V1, &snappy::compress(&v1), BYTES_MAX).await.unwrap();
    assert_eq!((written.samples, &*written.refused), (2, &[(RefusalReason::MetricNameMissing, 1)][..]));
    let mut expected = by_http.read();
    expected.sort_unstable();
    assert_eq!(expected, ["import:x: a{job=\"j\"}", "import:x: b"]);
    let lines = [json("a", r#""__name__":"a","job":"j""#), json("b", r#""replica":"r""#), json("", r#""x":"1""#)];
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let (packed_v1, packed_v2) = (snappy::compress(&v1), snappy::compress(&v2));
    for (format, bodies) in [
        (ImportFormat::RemoteWrite, vec![&*v1]),
        (ImportFormat::RemoteWrite, vec![&*packed_v1]),
        (ImportFormat::RemoteWrite, vec![&*v2]),
        (ImportFormat::RemoteWrite, vec![&*packed_v2]),
        (ImportFormat::Json, lines),
    ] {
        let world = World::new(options());
        // The second time the series are in the cache.
        for turn in 1..=2 {
            let imported = import(&world, &topic(true), format, &bodies).await.unwrap();
            assert_eq!(imported.written, written, "{format:?}");
            assert!(imported.refused.is_empty());
            let mut read = world.read();
            read.sort_unstable();
            read.dedup();
            assert_eq!((read.as_slice(), world.read().len()), (&*expected, turn * expected.len()), "{format:?}");
        }
        assert_eq!(world.gateway.counters().refused(RefusalReason::MetricNameMissing), 2);
    }
}

#[tokio::test]
async fn a_content_type_goes_before_what_a_body_seems_to_be() {
    let world = World::new(GatewayOptions::default());
    let v1 = snappy::compress(&remote_write_v1::encode(&[of(&[("__name__", "a")])]));
    let typed = |content_type: &str| {
        let body = ImportBody { payload: &v1, content_type: Some(content_type) };
        world.gateway.encode_import(&topic(true), ImportFormat::RemoteWrite, &[body], BYTES_MAX, false).unwrap()
    };
    for content_type in ["application/x-protobuf;proto=prometheus.WriteRequest", "application/x-protobuf", "text/plain"] {
        assert_eq!(typed(content_type).written.samples, 1, "{content_type}");
    }
    for (proto, told) in
        [("io.prometheus.write.v2.Request", "remote write 1.0"), ("other.Message", "names \"other.Message\"")]
    {
        let imported = typed(&format!("application/x-protobuf; proto={proto}"));
        assert_eq!((imported.written.samples, refused(&imported)), (0, vec![(0, "body-malformed")]));
        assert!(imported.refused[0].2.contains(told), "{:?}", imported.refused);
    }
}

#[tokio::test]
async fn bad_bodies_are_refused_one_by_one_and_uncover_once_a_minute() {
    let world = World::new(GatewayOptions::default());
    let good: Vec<Vec<u8>> =
        (0..9).map(|n| remote_write_v1::encode(&[of(&[("__name__", "a"), ("n", &n.to_string())])])).collect();
    let (cut, huge) = (&good[0][..20], vec![0x0a; BYTES_MAX + 1]);
    let bomb = snappy::compress(&vec![0; 2 * BYTES_MAX]);
    let others = [0x32, 2, 7, 7];
    let mut bodies: Vec<&[u8]> = good.iter().map(Vec::as_slice).collect();
    for (place, bad) in [(0, &b""[..]), (2, cut), (3, &huge), (7, &bomb), (10, &others), (14, b"rubbish")] {
        bodies.insert(place, bad);
    }
    let expected =
        [(0, "malformed"), (2, "malformed"), (3, "too-large"), (7, "malformed"), (10, "malformed"), (14, "malformed")];
    let expected = expected.map(|(place, reason)| (place, format!("body-{reason}")));
    // A stranger's rubbish uncovers nothing; what is among readable bodies is a known sender's.
    let stranger = import(&world, &topic(true), ImportFormat::RemoteWrite, &[b"rubbish"]).await.unwrap();
    assert_eq!((refused(&stranger).len(), world.read().len()), (1, 0));
    let imported = import(&world, &topic(true), ImportFormat::RemoteWrite, &bodies).await.unwrap();
    assert_eq!(imported.written.samples, 9);
    assert_eq!(refused(&imported), expected.each_ref().map(|(place, reason)| (*place, reason.as_str())));
    let read = world.read();
    let notes: Vec<&String> = read.iter().filter(|line| !line.contains("a{n=")).collect();
    assert_eq!((read.len(), notes.len()), (10, 1), "{read:?}");
    assert!(notes[0].starts_with("import:x: body-"), "{notes:?}");
    assert_eq!(world.gateway.counters().refused(RefusalReason::BodyMalformed), 6);
    // More of them within a minute are counted, and uncover nothing more.
    let more = import(&world, &topic(true), ImportFormat::RemoteWrite, &[b"rubbish"]).await.unwrap();
    assert_eq!((refused(&more).len(), world.read().len()), (1, 10));
    // Records that were deleted before they were read are noted each time.
    let gone = world.gateway.encode_import(&topic(true), ImportFormat::Json, &[], BYTES_MAX, true).unwrap();
    assert_eq!((gone.records.len(), gone.written.samples), (1, 0));
}

#[tokio::test]
async fn bad_json_is_refused_record_by_record_and_the_rest_is_one_request() {
    let world = World::new(GatewayOptions { sender_labels: vec!["cluster".to_owned()], ..GatewayOptions::default() });
    let good: Vec<Vec<u8>> = (0..100).map(|n| json("a", &format!(r#""cluster":"c","n":"{n}""#))).collect();
    let mut bodies: Vec<&[u8]> = good.iter().map(Vec::as_slice).collect();
    let long = json("a", &format!(r#""cluster":"{}""#, "x".repeat(300)));
    bodies.splice(50..50, [&b"{}"[..], b"null", &long, b"\xff"]);
    let imported = import(&world, &topic(false), ImportFormat::Json, &bodies).await.unwrap();
    let expected = [(50, "body-malformed"), (51, "body-malformed"), (52, "origin-too-long"), (53, "body-malformed")];
    assert_eq!((imported.written.samples, refused(&imported)), (100, expected.to_vec()));
    let read = world.read();
    assert_eq!(read.iter().filter(|line| line.starts_with("c: a{cluster=\"c\"")).count(), 100);
    assert_eq!(read.len(), 101, "and one note: {read:?}");
}

/// What remote write answers with "come again" is an error, and nothing of it is encoded.
#[tokio::test]
async fn what_may_pass_is_an_error() {
    let world = World::new(GatewayOptions { senders_max: 1, bodies_bytes_max: 1000, ..GatewayOptions::default() });
    let body = remote_write_v1::encode(&[of(&[("__name__", "a")])]);
    import(&world, &topic(true), ImportFormat::RemoteWrite, &[&body]).await.unwrap();
    let other = Origin { sender: "other".into(), ..topic(true) };
    let error = import(&world, &other, ImportFormat::RemoteWrite, &[&body]).await.err().unwrap();
    assert!(matches!(error, WriteError::NotAdmitted(_)), "{error}");
    let large = snappy::compress(&vec![0; 2000]);
    let error = import(&world, &topic(true), ImportFormat::RemoteWrite, &[&body, &large]).await.err().unwrap();
    assert!(matches!(error, WriteError::BodiesFull(_)), "{error}");
    assert_eq!(world.read().len(), 1);
}

/// Whether a body is a whole request without any series: cut off where one begins, it is none the worse for it.
fn is_empty(body: &[u8]) -> bool {
    let unpacked = snappy::decompress(body, BYTES_MAX).unwrap_or_else(|_| body.to_vec());
    let none_in_v1 = matches!(remote_write_v1::Request::new(&unpacked).next_series(), Ok(None));
    none_in_v1 || remote_write_v2::Request::new(&unpacked).is_ok_and(|mut request| matches!(request.next_series(), Ok(None)))
}

/// Damaged bodies are read as something else or refused: there is no panic, and none is passed over in silence.
#[tokio::test]
async fn damaged_bodies_are_read_or_refused() {
    let world = World::new(GatewayOptions::default());
    let series: Vec<_> = (0..3).map(|n| of(&[("__name__", "a"), ("n", &n.to_string())])).collect();
    let (v1, v2) = (remote_write_v1::encode(&series), remote_write_v2::encode(&series));
    let wrapped = [v1.clone(), v2.clone(), snappy::compress(&v1), snappy::compress(&v2), json("a", r#""n":"1","é":"\n""#)];
    let (mut random, mut taken, mut bad) = (Random::new(11), 0, 0);
    for case in 0..20_000 {
        let (mut body, format) = match case % 5 {
            4 => (wrapped[4].clone(), ImportFormat::Json),
            place => (wrapped[place].clone(), ImportFormat::RemoteWrite),
        };
        for _ in 0..=random.below(3) {
            let at = random.below(body.len());
            match random.below(3) {
                0 => body[at] ^= 1 << random.below(8),
                1 => body.truncate(at),
                _ => body.insert(at, random.below(256) as u8),
            }
            if body.is_empty() {
                break;
            }
        }
        let imported = world.gateway.encode_import(&topic(true), format, &[plain(&body)], BYTES_MAX, false).unwrap();
        let (samples, told) = (imported.written.samples, imported.refused.len() + imported.written.refused.len());
        assert!(samples > 0 || told > 0 || is_empty(&body), "case {case} is lost in silence: {body:?}");
        (taken, bad) = (taken + usize::from(samples > 0), bad + usize::from(told > 0));
    }
    assert!(taken > 500 && bad > 5_000, "{taken} taken, {bad} refused");
}
