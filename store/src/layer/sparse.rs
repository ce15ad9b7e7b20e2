//! Maps of sparse files: which parts of a file stand in the stream.

use super::error::TarError;

/// The parts of a file that are no holes, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseMap {
    /// Offset and length of each part, in bytes.
    pub parts: Vec<(u64, u64)>,
    /// The size of the file, holes included.
    pub real_size: u64,
}

impl SparseMap {
    /// Pairs up offsets and lengths; checks that they are in order, inside the file, and need
    /// just the data that the entry has.
    pub(crate) fn new(numbers: &[u64], real_size: u64, stored: u64) -> Result<Self, TarError> {
        let (pairs, rest) = numbers.as_chunks::<2>();
        let (mut end, mut total) = (0u64, 0u64);
        for [offset, length] in pairs {
            let next = offset
                .checked_add(*length)
                .filter(|next| *next <= real_size);
            if *offset < end {
                return Err(TarError::SparseMap);
            }
            end = next.ok_or(TarError::SparseMap)?;
            total += length;
        }
        if !rest.is_empty() || total != stored {
            return Err(TarError::SparseMap);
        }
        Ok(Self {
            parts: pairs
                .iter()
                .map(|[offset, length]| (*offset, *length))
                .collect(),
            real_size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_consistent_map_is_taken() {
        let cases: [(&[u64], u64, u64, bool); 7] = [
            (&[], 10, 0, true),
            (&[0, 2, 8, 2], 10, 4, true),
            (&[0, 2, 8, 2], 9, 4, false),
            (&[0, 2, 8], 10, 2, false),
            (&[4, 2, 5, 1], 10, 3, false),
            (&[0, 2], 10, 3, false),
            (&[u64::MAX, 2], u64::MAX, 2, false),
        ];
        for (numbers, real_size, stored, good) in cases {
            let map = SparseMap::new(numbers, real_size, stored);
            assert_eq!(map.is_ok(), good, "{numbers:?} {real_size} {stored}");
        }
    }
}
