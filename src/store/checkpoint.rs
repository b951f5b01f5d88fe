//! Checkpoints: all of the state that is not in blocks, as the records that make it.

use super::chunk;
use super::disk::Disk;
use super::encoding::{Input, Malformed};
use super::error::StoreError;
use super::files::FileKind;
use super::record::Record;
use super::state::State;
use super::view::StoredView;

/// A checkpoint's bytes. Recent points of the views for which `in_block` says so are left out.
pub fn encode(state: &State, in_block: impl Fn(u32) -> bool) -> Vec<u8> {
    let mut body = Vec::new();
    let mut put = |record: Record| record.encode(&mut body);
    state.log.into_iter().for_each(|log| put(Record::Log(log)));
    put(Record::Positions(state.positions.values().copied().collect()));
    put(Record::Senders(state.senders.values().cloned().collect()));
    for (key, bytes) in &state.notes {
        put(Record::Note { key: key.clone(), bytes: Some(bytes.clone()) });
    }
    // Before the views, which must not be passed by it again: what it removed is not in the state any more.
    put(Record::Retention(state.now));
    put(Record::NextView(state.next_view));
    let mut numbers: Vec<u32> = state.views.keys().copied().collect();
    numbers.sort_unstable();
    for (number, view) in numbers.iter().filter_map(|number| Some((*number, state.views.get(number)?))) {
        put_view(&mut put, number, view, !in_block(number));
    }
    FileKind::Checkpoint.seal(&body)
}

fn put_view(put: &mut impl FnMut(Record), view: u32, stored: &StoredView, with_head: bool) {
    put(Record::View { view, id: stored.id, description: stored.description.clone() });
    if stored.covered_from.is_some() || stored.final_to.is_some() {
        put(Record::Progress { view, covered_from: stored.covered_from, final_to: stored.final_to });
    }
    let (next_group, silent_since, kept_from) = (stored.next_group, stored.silent_since, stored.kept_from);
    put(Record::Counting { view, next_group, silent_since, kept_from });
    let spans = stored.spans.stored(stored.id);
    put(Record::Spans { view, spans: spans.iter().map(|span| (span.reason, span.from, span.to)).collect() });
    let mut groups: Vec<_> = stored.groups.iter().map(|(number, group)| (*number, group)).collect();
    groups.sort_unstable_by_key(|(number, _)| *number);
    let labels = groups.iter().map(|(number, group)| (*number, group.labels.clone())).collect();
    put(Record::Groups { view, groups: labels });
    let fields = usize::from(stored.description.fields);
    for (group, pieces) in groups.iter().map(|(number, group)| (*number, &group.head)).filter(|_| with_head) {
        if !pieces.is_empty() {
            let chunks = pieces.iter().map(|piece| chunk::encode(piece, fields)).collect();
            put(Record::Head { view, group, chunks });
        }
    }
}

/// Applies a checkpoint to an empty state.
pub fn load(disk: &dyn Disk, number: u32, state: &mut State) -> Result<(), StoreError> {
    let name = FileKind::Checkpoint.name(number);
    let bytes = disk.read_whole(&name).map_err(|error| StoreError::io("read", &name, error))?;
    let mut input = Input::new(FileKind::Checkpoint.unseal(&name, &bytes)?);
    while !input.is_empty() {
        let applied = Record::decode(&mut input).and_then(|record| state.apply(record));
        applied.map_err(|Malformed(what)| StoreError::corrupt(&name, 0, what))?;
    }
    Ok(())
}
