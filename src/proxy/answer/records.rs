//! Recorded names in front of an upstream. Only we have their series, so that where their views may not be served, and
//! upstream is asked, nothing may come back: that must not go unsaid.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use smol_str::SmolStr;

/// An answer without series is no longer than this, whatever it says beside them.
const EMPTY_BYTES_MAX: usize = 16 << 10;

/// What is to be said of a query over these names when upstream was asked for it, or for a part of it.
pub(super) fn warning(records: &[SmolStr]) -> Option<String> {
    let names = records.join(", ");
    let text = "is recorded by a job, and its view may not be served at some of these steps: upstream was asked, which may not \
                know it";
    (!records.is_empty()).then(|| format!("prefold: {names} {text}"))
}

/// Upstream's answer, with the warning when it has no series; any other passes as it is.
pub(super) async fn warned(response: Response, warning: &str) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (head, body) = response.into_parts();
    let mut chunks = body.into_data_stream();
    let mut read = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let failed = chunk.is_err();
        read.push(chunk);
        if failed || read.iter().flatten().map(Bytes::len).sum::<usize>() > EMPTY_BYTES_MAX {
            return Response::from_parts(head, Body::from_stream(stream::iter(read).chain(chunks)));
        }
    }
    let bytes: Vec<u8> = read.into_iter().flatten().flatten().collect();
    match with_warning(&bytes, warning) {
        Some(text) => Response::from_parts(head, text.into()),
        None => Response::from_parts(head, bytes.into()),
    }
}

fn with_warning(answer: &[u8], warning: &str) -> Option<String> {
    let mut answer: Value = serde_json::from_slice(answer).ok()?;
    answer["data"]["result"].as_array().filter(|series| series.is_empty())?;
    let warnings = answer.as_object_mut()?.entry("warnings").or_insert_with(|| Value::Array(Vec::new()));
    warnings.as_array_mut()?.push(warning.into());
    Some(answer.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_series_is_changed() {
        let warned = |text: &str| with_warning(text.as_bytes(), "w");
        let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        let said: Value = serde_json::from_str(&warned(empty).unwrap()).unwrap();
        assert_eq!((&said["warnings"], &said["data"]["resultType"]), (&serde_json::json!(["w"]), &"vector".into()));
        let also = r#"{"data":{"result":[]},"warnings":["v"]}"#;
        assert!(warned(also).unwrap().contains(r#"["v","w"]"#));
        for text in ["", "x", "[]", "{}", r#"{"data":{"result":[1]}}"#, r#"{"data":{"result":7}}"#] {
            assert_eq!(warned(text), None, "{text}");
        }
    }
}
