//! Consistent hashing on a ring: a member that goes moves its own keys and no others.

use super::Member;
use crate::hash::{hash64, mix};

/// Points on a ring, whatever the settings.
const POINTS_MAX: usize = 1 << 20;

/// Points on a circle, each of which belongs to a member.
#[derive(Debug)]
pub(super) struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    pub(super) fn new(members: &[Member], points_of_one: u32) -> Self {
        let wanted: u64 =
            members.iter().map(|member| u64::from(member.weight) * u64::from(points_of_one)).sum();
        let scale = (POINTS_MAX as f64 / wanted.max(1) as f64).min(1.0);
        let mut points = Vec::new();
        for (index, member) in members.iter().enumerate().filter(|(_, member)| member.weight > 0) {
            let count = (f64::from(member.weight) * f64::from(points_of_one) * scale).max(1.0) as u64;
            let base = hash64(member.hash_name.as_bytes());
            points.extend((0..count).map(|number| (mix(base ^ mix(number)), index as u32)));
        }
        points.sort_unstable();
        Self { points }
    }

    pub(super) fn pick(&self, hash: u64, usable: &impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|(at, _)| *at < hash);
        let (after, before) = (&self.points[start..], &self.points[..start]);
        after.iter().chain(before).map(|(_, index)| *index as usize).find(|index| usable(*index))
    }
}
