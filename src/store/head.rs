//! The points of a group over a stretch of its view's grid: what is kept in memory, and what a chunk encodes.
//!
//! Times lie on a grid, so a point's time is one bit: whether the slot is taken. Values stand side by side, without holes.

use std::ops::Range;

/// The grid slots a piece spans at most: as many points as a chunk holds at most.
pub const SLOTS_MAX: usize = 240;

const WORDS: usize = SLOTS_MAX.div_ceil(64);

/// Up to [`SLOTS_MAX`] neighbouring grid points of one group, some of which have values.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    /// The grid index (time divided by step) of slot 0, which is always taken.
    first: i64,
    /// A bit per slot: whether it has a value.
    present: [u64; WORDS],
    /// The slots up to and including the last one taken.
    slots: u8,
    /// Per field the values of the taken slots, in order. The second is empty when the view has one field.
    pub values: [Vec<f64>; 2],
}

impl Piece {
    pub fn new(first: i64) -> Piece {
        Piece { first, ..Piece::default() }
    }

    /// A piece from its parts; `None` when presence and values do not agree.
    pub fn from_parts(first: i64, slots: u8, present: &[u8], values: [Vec<f64>; 2]) -> Option<Piece> {
        let mut piece = Piece { first, slots, values, ..Piece::default() };
        for (word, bytes) in piece.present.iter_mut().zip(present.chunks(8)) {
            let mut padded = [0; 8];
            padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
            *word = u64::from_le_bytes(padded);
        }
        let last = usize::from(slots).checked_sub(1).filter(|last| *last < SLOTS_MAX)?;
        let count: u32 = piece.present.iter().map(|word| word.count_ones()).sum();
        let top = piece.taken().last()?;
        let bottom = piece.taken().next()?;
        let second_fits = piece.values[1].is_empty() || piece.values[1].len() == count as usize;
        let fits = piece.values[0].len() == count as usize && second_fits;
        (fits && bottom == 0 && top == last && first.checked_add(last as i64).is_some()).then_some(piece)
    }

    /// Adds a point after all others; false when it lies beyond the piece.
    pub fn push(&mut self, index: i64, fields: &[f64]) -> bool {
        let slot = match index.checked_sub(self.first).map(usize::try_from) {
            Some(Ok(slot)) if slot < SLOTS_MAX => slot,
            _ => return false,
        };
        debug_assert!(slot >= usize::from(self.slots), "points of a group come in time order");
        self.present[slot / 64] |= 1 << (slot % 64);
        self.slots = slot as u8 + 1;
        for (values, field) in self.values.iter_mut().zip(fields) {
            values.push(*field);
        }
        true
    }

    pub fn first(&self) -> i64 {
        self.first
    }

    /// The grid index of the last point.
    pub fn last(&self) -> i64 {
        self.first + i64::from(self.slots) - 1
    }

    /// The slots up to the last one taken.
    pub fn slots(&self) -> u8 {
        self.slots
    }

    /// How many points.
    pub fn len(&self) -> usize {
        self.values[0].len()
    }

    pub fn is_full(&self) -> bool {
        self.len() == usize::from(self.slots)
    }

    /// The slots that have a value, ascending.
    fn taken(&self) -> impl Iterator<Item = usize> + '_ {
        self.present.iter().enumerate().flat_map(|(at, word)| {
            let rest = std::iter::successors(Some(*word), |rest| Some(rest & rest.wrapping_sub(1)));
            rest.take_while(|rest| *rest != 0).map(move |rest| at * 64 + rest.trailing_zeros() as usize)
        })
    }

    /// The presence bits of all slots, in bytes.
    pub fn presence(&self) -> Vec<u8> {
        let bytes = self.present.iter().flat_map(|word| word.to_le_bytes());
        bytes.take(usize::from(self.slots).div_ceil(8)).collect()
    }

    /// Hands over the grid indices of the points between two, inclusive, and gives where their values are.
    pub fn between(&self, from: i64, to: i64, mut each: impl FnMut(i64)) -> Range<usize> {
        if self.is_full() {
            let (first, last) = (from.max(self.first), to.min(self.last()));
            (first..=last).for_each(each);
            let at = |index: i64| (index - self.first) as usize;
            return if first <= last { at(first)..at(last) + 1 } else { 0..0 };
        }
        let (mut begin, mut end) = (0, 0);
        for (rank, slot) in self.taken().enumerate() {
            let index = self.first + slot as i64;
            if index < from {
                begin = rank + 1;
            } else if index <= to {
                each(index);
                end = rank + 1;
            }
        }
        begin..end.max(begin)
    }
}

/// Adds a point to the pieces of a group, of which it becomes the newest.
pub fn push_point(pieces: &mut Vec<Piece>, index: i64, fields: &[f64]) {
    if !pieces.last_mut().is_some_and(|piece| piece.push(index, fields)) {
        let mut piece = Piece::new(index);
        piece.push(index, fields);
        pieces.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(piece: &Piece, from: i64, to: i64) -> (Range<usize>, Vec<i64>) {
        let mut indices = Vec::new();
        (piece.between(from, to, |index| indices.push(index)), indices)
    }

    #[test]
    fn points_are_found_again_and_pieces_end() {
        let mut pieces = Vec::new();
        for index in [-3, -1, 0, 200, 236, 237, 5000] {
            push_point(&mut pieces, index, &[index as f64]);
        }
        assert_eq!(
            pieces.iter().map(|p| (p.first(), p.last(), p.len())).collect::<Vec<_>>(),
            [(-3, 236, 5), (237, 237, 1), (5000, 5000, 1)]
        );
        assert_eq!(found(&pieces[0], -1, 200), (1..4, vec![-1, 0, 200]));
        assert_eq!(found(&pieces[0], 1, 5), (3..3, vec![]));
        assert_eq!(found(&pieces[0], 300, 400).1, Vec::<i64>::new());
        let mut full = Piece::new(10);
        (10..20).for_each(|index| assert!(full.push(index, &[0.0])));
        assert_eq!(found(&full, 12, 13), (2..4, vec![12, 13]));
        assert_eq!(found(&full, i64::MIN, 10), (0..1, vec![10]));
        assert_eq!(found(&full, 20, i64::MAX).1, Vec::<i64>::new());
        let again = Piece::from_parts(-3, 240, &pieces[0].presence(), pieces[0].values.clone()).unwrap();
        assert_eq!(found(&again, i64::MIN, i64::MAX), found(&pieces[0], i64::MIN, i64::MAX));
    }

    #[test]
    fn parts_that_do_not_agree_are_refused() {
        let one = || [vec![1.0], vec![]];
        assert!(Piece::from_parts(0, 1, &[1], one()).is_some());
        assert!(Piece::from_parts(0, 1, &[3], one()).is_none(), "more bits than values");
        assert!(Piece::from_parts(0, 2, &[1], one()).is_none(), "the last slot is free");
        assert!(Piece::from_parts(0, 0, &[], [vec![], vec![]]).is_none());
        assert!(Piece::from_parts(0, 255, &[1], one()).is_none());
        assert!(Piece::from_parts(i64::MAX, 2, &[3], [vec![1.0; 2], vec![]]).is_none());
        assert!(Piece::from_parts(0, 1, &[1], [vec![1.0], vec![1.0, 2.0]]).is_none());
    }
}
