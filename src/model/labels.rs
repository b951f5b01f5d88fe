//! Label sets and what identifies a series.
//!
//! A label set is sorted by name and holds no empty value: to Prometheus an empty label is an absent one. A series is
//! known by the hash of its tenant and canonical label set, the same on every machine and in every version.

use std::fmt;

use super::quote::quoted;
use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_128;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// One name and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Label {
    pub name: SmolStr,
    pub value: SmolStr,
}

/// A label set: sorted by name, names unique, no empty values.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Labels(Vec<Label>);

impl Labels {
    pub const EMPTY: Labels = Labels(Vec::new());

    /// Sorts, drops empty values; of several labels of one name the last stays.
    pub fn from_pairs<N: Into<SmolStr>, V: Into<SmolStr>>(pairs: impl IntoIterator<Item = (N, V)>) -> Labels {
        let mut labels: Vec<Label> =
            pairs.into_iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels.reverse();
        labels.dedup_by(|next, kept| next.name == kept.name);
        labels.reverse();
        labels.retain(|label| !label.value.is_empty());
        Labels(labels)
    }

    /// The value of a label; empty when the label is absent, as in Prometheus.
    pub fn get(&self, name: &str) -> &str {
        match self.0.binary_search_by(|label| label.name.as_str().cmp(name)) {
            Ok(at) => &self.0[at].value,
            Err(_) => "",
        }
    }

    /// The metric's name, empty when it has none.
    pub fn metric(&self) -> &str {
        self.get(METRIC_NAME)
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Label> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This set with one label set to a value; an empty value removes it.
    pub fn with(&self, name: &str, value: &str) -> Labels {
        let mut labels = self.0.clone();
        match (labels.binary_search_by(|label| label.name.as_str().cmp(name)), value.is_empty()) {
            (Ok(at), true) => drop(labels.remove(at)),
            (Ok(at), false) => labels[at].value = value.into(),
            (Err(_), true) => {}
            (Err(at), false) => labels.insert(at, Label { name: name.into(), value: value.into() }),
        }
        Labels(labels)
    }

    /// This set without the metric's name.
    pub fn without_metric(&self) -> Labels {
        self.with(METRIC_NAME, "")
    }

    /// Only the labels whose names are listed; the list need not be sorted.
    pub fn keep<S: AsRef<str>>(&self, names: &[S]) -> Labels {
        Labels(self.0.iter().filter(|label| names.iter().any(|name| name.as_ref() == label.name)).cloned().collect())
    }

    /// All labels but those listed.
    pub fn drop<S: AsRef<str>>(&self, names: &[S]) -> Labels {
        Labels(self.0.iter().filter(|label| !names.iter().any(|name| name.as_ref() == label.name)).cloned().collect())
    }

    /// Appends the canonical form: each name and value, its length as a little-endian u32 before it.
    pub fn canonical_into(&self, out: &mut Vec<u8>) {
        for label in &self.0 {
            push_prefixed(out, label.name.as_bytes());
            push_prefixed(out, label.value.as_bytes());
        }
    }

    /// What identifies the series of these labels in a tenant.
    pub fn series_id(&self, tenant: &str) -> SeriesId {
        let mut canonical = Vec::with_capacity(512);
        push_prefixed(&mut canonical, tenant.as_bytes());
        self.canonical_into(&mut canonical);
        SeriesId(xxh3_128(&canonical))
    }
}

/// Appends bytes with their length as a little-endian u32 before them: the canonical form's only building block.
pub fn push_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl<'a> IntoIterator for &'a Labels {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// As Prometheus writes a series: `name{a="b", c="d"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = self.metric();
        f.write_str(metric)?;
        let rest: Vec<String> =
            self.0.iter().filter(|l| l.name != METRIC_NAME).map(|l| format!("{}={}", l.name, quoted(&l.value))).collect();
        if metric.is_empty() || !rest.is_empty() {
            write!(f, "{{{}}}", rest.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who a sample belongs to (`X-Scope-OrgID`); empty by default. Part of every identity: nothing crosses it.
pub type Tenant = SmolStr;

/// 128-bit xxh3 of tenant and canonical label set. Stored in the log and in results; a golden test holds it fixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SeriesId(pub u128);

impl SeriesId {
    /// The log partition this series belongs to, of `count`.
    pub fn partition(self, count: u16) -> u16 {
        ((self.0 >> 64) as u64 % u64::from(count.max(1))) as u16
    }
}

impl fmt::Debug for SeriesId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Maps keyed by [`SeriesId`] take its low half as the hash: it is one already.
#[derive(Default, Clone, Copy)]
pub struct SeriesIdHasher(u64);

impl std::hash::Hasher for SeriesIdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }
    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64;
    }
}

/// `BuildHasher` for maps keyed by [`SeriesId`].
pub type SeriesIdBuild = std::hash::BuildHasherDefault<SeriesIdHasher>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_canonical() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("a", "3")]);
        assert_eq!(labels.to_string(), r#"{a="3", b="2"}"#);
        assert_eq!(labels.get("a"), "3");
        assert_eq!(labels.get("c"), "");
        assert_eq!(labels.with("b", "").with("__name__", "up").to_string(), r#"up{a="3"}"#);
        assert_eq!(labels.keep(&["b", "x"]).to_string(), r#"{b="2"}"#);
        assert_eq!(labels.drop(&["b", "x"]).to_string(), r#"{a="3"}"#);
    }

    /// Golden: stored logs and results are keyed by this hash, so a change orphans them.
    #[test]
    fn series_id_is_fixed_for_ever() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
        assert_eq!(format!("{:?}", labels.series_id("")), "98b9b00ca55a0f58b484a41324d6481b");
        assert_ne!(labels.series_id("a"), labels.series_id(""));
        assert_ne!(Labels::from_pairs([("a", "b")]).series_id(""), Labels::from_pairs([("ab", "x")]).series_id(""));
    }
}
