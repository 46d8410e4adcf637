//! The file systems that the init itself has made and mounted, by their place.
//!
//! They stay open until the payload is forked. What lies directly in one is then reached by its
//! single name: nothing of the way there has to be looked up again, and no link of an image can be
//! on it, because nobody but the init and the kernel has put anything there.

use core::ffi::CStr;

use crate::path::Way;
use crate::plan::Plan;
use crate::sys;

/// As many as are kept. One more is reached by its path.
const ROOM: usize = 8;

/// What is in a new file system.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// What the init puts there.
    Ours,
    /// What the kernel shows. A link directly in it leads no further than to the same file system.
    Kernels,
}

/// One that is mounted at a path without links, and covered by nothing.
#[derive(Clone, Copy)]
struct Place {
    /// Offset of the path in the plan.
    at: u32,
    mount: i32,
    inside: Inside,
}

/// See the module.
pub struct Fresh {
    places: [Place; ROOM],
    count: usize,
}

/// A name in one of them.
pub struct Spot<'p> {
    pub place: i32,
    pub name: &'p CStr,
}

impl Fresh {
    pub const NONE: Self =
        Self { places: [Place { at: 0, mount: -1, inside: Inside::Ours }; ROOM], count: 0 };

    /// Keeps `mount`, a new file system of type `kind`, now at the plan's text `at`. False: it does
    /// not, and the caller closes it.
    pub fn keep(&mut self, kind: &CStr, at: u32, mount: i32) -> bool {
        let inside = match kind {
            kind if kind == c"tmpfs" => Inside::Ours,
            kind if kind == c"proc" || kind == c"sysfs" => Inside::Kernels,
            _ => return false,
        };
        let Some(free) = self.places.get_mut(self.count) else { return false };
        *free = Place { at, mount, inside };
        self.count += 1;
        true
    }

    /// Something was mounted at `path`: what it covers is not there any more.
    pub fn cover(&mut self, plan: &Plan, path: &CStr, way: Way) {
        let mut kept = 0;
        for index in 0..self.count {
            let place = self.places[index];
            // Through links it may be anywhere.
            if way == Way::Linked || is_below(plan.text(u64::from(place.at)), path) {
                sys::close(place.mount);
            } else {
                self.places[kept] = place;
                kept += 1;
            }
        }
        self.count = kept;
    }

    /// Another root: no path leads where it led.
    pub fn forget(&mut self, plan: &Plan) {
        self.cover(plan, c"/", Way::Linked);
    }

    /// The mount at `path`.
    pub fn mount_at(&self, plan: &Plan, path: &CStr) -> Option<i32> {
        let at = |place: &&Place| plan.text(u64::from(place.at)) == path;
        self.places[..self.count].iter().find(at).map(|place| place.mount)
    }

    /// Where `path` lies, if that is directly in a file system that the init fills.
    pub fn ours<'p>(&self, plan: &Plan, path: &'p CStr) -> Option<Spot<'p>> {
        self.spot(plan, path, Inside::Ours)
    }

    /// Where `path` lies, if that is directly in one that the kernel fills.
    pub fn kernels<'p>(&self, plan: &Plan, path: &'p CStr) -> Option<Spot<'p>> {
        self.spot(plan, path, Inside::Kernels)
    }

    fn spot<'p>(&self, plan: &Plan, path: &'p CStr, inside: Inside) -> Option<Spot<'p>> {
        let (directory, name) = split(path)?;
        let holds = |place: &&Place| {
            place.inside == inside && plan.text(u64::from(place.at)).to_bytes() == directory
        };
        let place = self.places[..self.count].iter().find(holds)?.mount;
        Some(Spot { place, name })
    }

    /// The highest descriptor that is kept, or -1.
    pub fn last(&self) -> i32 {
        self.places[..self.count].iter().fold(-1, |last, place| last.max(place.mount))
    }
}

/// `path` is `top`, or lies below it.
fn is_below(path: &CStr, top: &CStr) -> bool {
    let rest = path.to_bytes().strip_prefix(top.to_bytes());
    top == c"/" || rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The directory of `path` and the last name. The plan's paths are absolute, without empty names,
/// `.` and `..`.
fn split(path: &CStr) -> Option<(&[u8], &CStr)> {
    let bytes = path.to_bytes_with_nul();
    let slash = bytes.iter().rposition(|byte| *byte == b'/')?;
    let (directory, name) = bytes.split_at(slash);
    let name = CStr::from_bytes_until_nul(name.get(1..)?).ok()?;
    if name.is_empty() { None } else { Some((directory, name)) }
}
