//! The stretches of the files that become one array each, of which the tensors are views.

use std::cmp::Reverse;

use rustix::param::page_size;

use crate::source::Index;

/// The length in bytes up to which neighbours share a window that MLX takes as it is: few of them are few buffers for a GPU to keep
/// track of.
const MAPPED: usize = 256 << 20;
/// The same of windows that MLX copies: many of them keep all threads busy. The C library takes allocations of this size from memory that
/// it has, where there is some, and longer ones from the system.
const COPIED: usize = 24 << 20;
/// The longest stretch in bytes that nobody asked for in the middle of a window.
const GAP: usize = 64 << 10;
/// The most elements of an array's axis.
const MAX_EXTENT: usize = i32::MAX as usize;

/// A stretch of a file, from the start of a page to the end of one, as an array of one axis.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// An index into the files.
    pub(crate) file: usize,
    /// In bytes from the start of the file.
    pub(crate) offset: usize,
    /// In bytes. The last page of a file belongs to its mapping, to its end.
    pub(crate) len: usize,
    /// Bytes per element of the array: 1, or more in a window so long that its bytes cannot be counted.
    pub(crate) unit: usize,
    /// Its contents.
    pub(crate) parts: Vec<Place>,
}

/// A part of a tensor: indices into the tensors and into the parts of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tensor: usize,
    pub(crate) part: usize,
}

/// Loading of an index.
#[derive(Debug)]
#[cfg_attr(
    not(any(target_os = "macos", longshore_mlx, test)),
    expect(dead_code, reason = "without the back end, planning only finds what is too long")
)]
pub(crate) struct Plan {
    pub(crate) windows: Vec<Window>,
    /// Parts that lie at no multiple of their elements' width in a file by others, and parts in several pieces. Each is copied, as MLX
    /// would do with it anyway.
    pub(crate) loose: Vec<Place>,
    /// Parts of no bytes.
    pub(crate) empty: Vec<Place>,
}

/// A part that is too long for MLX.
#[derive(Debug)]
pub(crate) struct TooLong {
    pub(crate) place: Place,
    pub(crate) bytes: usize,
}

impl Plan {
    /// A plan for windows that MLX takes as they are, or for those that it copies.
    pub(crate) fn new(index: &Index, is_mapped: bool) -> Result<Self, TooLong> {
        Self::with_window(index, if is_mapped { MAPPED } else { COPIED })
    }

    fn with_window(index: &Index, window_len: usize) -> Result<Self, TooLong> {
        let (mut loose, mut empty, mut aligned) = (Vec::new(), Vec::new(), Vec::new());
        for (tensor, entry) in index.tensors.iter().enumerate() {
            for (part, found) in entry.parts.iter().enumerate() {
                let (place, is_aligned) = (Place { tensor, part }, found.offset.is_multiple_of(found.element.size()));
                if found.len == 0 {
                    empty.push(place);
                } else if is_aligned && found.pieces.is_empty() {
                    aligned.push(place);
                } else if found.len > MAX_EXTENT {
                    return Err(TooLong { place, bytes: found.len });
                } else {
                    loose.push(place);
                }
            }
        }
        let part = |place: Place| &index.tensors[place.tensor].parts[place.part];
        aligned.sort_by_key(|place| (part(*place).file, part(*place).offset, Reverse(part(*place).len)));
        let page = page_size();
        let mut windows: Vec<Window> = Vec::new();
        for place in aligned {
            let found = part(place);
            let end = (found.offset + found.len).next_multiple_of(page);
            if let Some(last) = windows.last_mut() {
                let last_end = last.offset + last.len;
                let joined = end.max(last_end) - last.offset;
                // An array that lies in the window anyway joins it, however long it is: an array that is the only one to have its memory may be
                // written by an operation, and another array must not have the same memory without MLX's knowing.
                let is_near = found.offset <= last_end + GAP && joined <= window_len;
                if last.file == found.file && (end <= last_end || is_near) {
                    last.len = joined;
                    last.parts.push(place);
                    continue;
                }
            }
            let offset = found.offset / page * page;
            windows.push(Window { file: found.file, offset, len: end - offset, unit: 1, parts: vec![place] });
        }
        for window in windows.iter_mut().filter(|window| window.len > MAX_EXTENT) {
            let divides = |unit: usize, place: Place| {
                let found = part(place);
                let last = found.dims.last().map_or(1, |&dim| dim.unsigned_abs() as usize);
                (found.offset - window.offset).is_multiple_of(unit)
                    && (last * found.element.size()).is_multiple_of(unit)
            };
            // Usually there is one part: such a window is longer than the shared ones.
            let unit = [8, 4, 2].into_iter().find(|&unit| {
                window.len / unit <= MAX_EXTENT && window.parts.iter().all(|&place| divides(unit, place))
            });
            let place = window.parts[0];
            window.unit = unit.ok_or_else(|| TooLong { place, bytes: part(place).len })?;
        }
        Ok(Self { windows, loose, empty })
    }
}

#[cfg(test)]
mod tests {
    use longshore_manifest::document::Role;
    use longshore_st_format::Dtype;

    use super::*;
    use crate::{
        dtype::Element,
        source::{Indexed, IndexedPart},
    };

    fn index(parts: &[(usize, usize, usize, Element, &[i32])]) -> Index {
        let tensor = |(at, &(file, offset, len, element, dims)): (usize, &(usize, usize, usize, Element, &[i32]))| {
            let part =
                IndexedPart { role: Role::Weight, file, offset, len, element, dims: dims.to_vec(), pieces: Vec::new() };
            Indexed {
                name: format!("{at}"),
                component: None,
                dtype: Dtype::F32,
                elements: 0,
                coding: None,
                parts: vec![part],
            }
        };
        Index { files: Vec::new(), tensors: parts.iter().enumerate().map(tensor).collect(), requested: None }
    }

    #[test]
    fn neighbours_share_a_window_up_to_its_length() {
        let page = page_size();
        let parts = [
            (0, 4 * page, 2 * page, Element::F32, &[1][..]),
            (0, 6 * page + 8, 100, Element::F32, &[25]),
            (0, 7 * page, page, Element::U8, &[1]),
            (1, 64, 10, Element::U8, &[10]),
            (1, 64 + GAP + 2 * page, 10, Element::U8, &[10]),
        ];
        let plan = Plan::with_window(&index(&parts), 3 * page).expect("nothing is long");
        let found: Vec<_> = plan.windows.iter().map(|window| (window.file, window.offset, window.len)).collect();
        let far = (64 + GAP + 2 * page) / page * page;
        assert_eq!(found, [(0, 4 * page, 3 * page), (0, 7 * page, page), (1, 0, page), (1, far, page)]);
        assert_eq!(plan.windows[0].parts, [Place { tensor: 0, part: 0 }, Place { tensor: 1, part: 0 }]);
    }

    #[test]
    fn what_two_tensors_have_in_common_is_in_one_window() {
        let page = page_size();
        let dims = &[1][..];
        let parts = [
            (0, page, 8, Element::U8, dims),
            (0, page, 8 * page, Element::U8, dims),
            (0, 2 * page, 8, Element::U8, dims),
            (0, 9 * page, 8, Element::U8, dims),
        ];
        let plan = Plan::with_window(&index(&parts), page).expect("nothing is long");
        let found: Vec<_> = plan.windows.iter().map(|window| (window.offset, window.len, window.parts.len())).collect();
        assert_eq!(found, [(page, 8 * page, 3), (9 * page, page, 1)]);
    }

    #[test]
    fn what_is_not_aligned_or_has_no_bytes_is_in_no_window() {
        let plan =
            Plan::with_window(&index(&[(0, 66, 8, Element::F32, &[2]), (0, 72, 0, Element::F32, &[0, 4])]), MAPPED);
        let plan = plan.expect("nothing is long");
        assert_eq!(plan.windows, []);
        assert_eq!(plan.loose, [Place { tensor: 0, part: 0 }]);
        assert_eq!(plan.empty, [Place { tensor: 1, part: 0 }]);
    }

    #[test]
    fn a_long_part_is_counted_in_wider_elements() {
        let page = page_size();
        let long = (1 << 32) + 2;
        let unit = |offset, element, last| {
            let plan = Plan::with_window(&index(&[(0, offset, long, element, &[1, last])]), MAPPED);
            plan.map(|plan| plan.windows[0].unit).map_err(|error| error.bytes)
        };
        assert_eq!(unit(page, Element::BF16, 4), Ok(8));
        assert_eq!(unit(page + 4, Element::BF16, 4), Ok(4));
        assert_eq!(unit(page + 4, Element::U8, 4), Ok(4));
        assert_eq!(unit(page, Element::BF16, 3), Err(long));
        assert_eq!(unit(page, Element::U8, 3), Err(long));
    }

    proptest::proptest! {
        /// Whatever lies in a file, each part of it lies in one window, and windows are pages that do not hold much else.
        #[test]
        fn every_part_lies_in_one_window(
            parts in proptest::collection::vec((0..200_000_usize, 0..300_000_usize, 0..3_usize, 0..2_usize), 1..40),
            window_len in 1..1_000_000_usize,
        ) {
            let elements = [Element::U8, Element::BF16, Element::F32];
            let mut ends = [8, 8];
            let dims = [1];
            let list: Vec<_> = parts.iter().map(|&(gap, len, element, file)| {
                let (offset, element) = (ends[file] + gap, elements[element]);
                let len = len / element.size() * element.size();
                ends[file] = offset + len;
                (file, offset, len, element, &dims[..])
            }).collect();
            let index = index(&list);
            let plan = Plan::with_window(&index, window_len).expect("nothing is long");
            let mut seen = vec![0; list.len()];
            for window in &plan.windows {
                assert!(window.offset.is_multiple_of(page_size()) && window.len.is_multiple_of(page_size()));
                let first = &index.tensors[window.parts[0].tensor].parts[0];
                let alone = (first.offset + first.len).next_multiple_of(page_size()) - window.offset;
                assert!(window.len <= window_len.max(alone));
                for place in &window.parts {
                    let part = &index.tensors[place.tensor].parts[place.part];
                    assert_eq!(part.file, window.file);
                    assert!(part.offset >= window.offset && part.offset + part.len <= window.offset + window.len);
                    assert!((part.offset - window.offset).is_multiple_of(part.element.size()));
                    seen[place.tensor] += 1;
                }
                let last = &index.tensors[window.parts.last().expect("none is empty").tensor].parts[0];
                assert!(window.offset + window.len < last.offset + last.len + page_size());
            }
            for place in plan.loose.iter().chain(&plan.empty) {
                seen[place.tensor] += 1;
            }
            assert!(seen.iter().all(|&count| count == 1));
        }
    }
}
