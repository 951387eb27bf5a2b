//! Entries in progress with owners: bounded per owner and in total, and shared fairly when the total is reached.

use std::collections::{BTreeMap, HashMap};

/// Numbered in the order of their arrival.
#[derive(Debug)]
pub(super) struct Shares<T> {
    of_one: usize,
    in_all: usize,
    things: BTreeMap<u64, (u64, T)>,
    counts: HashMap<u64, usize>,
}

/// What a newcomer finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room<T> {
    Free,
    /// The oldest thing of the owner that holds most has made room.
    Made(T),
    /// The newcomer's owner has its share.
    None,
}

impl<T> Shares<T> {
    pub(super) fn new(of_one: usize, in_all: usize) -> Self {
        Self {
            of_one,
            in_all,
            things: BTreeMap::new(),
            counts: HashMap::new(),
        }
    }

    pub(super) fn room_for(&mut self, owner: u64) -> Room<T> {
        let own = self.counts.get(&owner).copied().unwrap_or_default();
        if own >= self.of_one {
            return Room::None;
        }
        if self.things.len() < self.in_all {
            return Room::Free;
        }
        let most = self
            .counts
            .iter()
            .max_by_key(|(_, count)| **count)
            .map(|(owner, count)| (*owner, *count));
        let Some((heaviest, _)) = most.filter(|(_, count)| *count > own) else {
            return Room::None;
        };
        let oldest = self
            .things
            .iter()
            .find(|(_, (owner, _))| *owner == heaviest)
            .map(|(id, _)| *id);
        oldest
            .and_then(|id| self.remove(id))
            .map_or(Room::None, Room::Made)
    }

    pub(super) fn insert(&mut self, id: u64, owner: u64, thing: T) {
        self.things.insert(id, (owner, thing));
        *self.counts.entry(owner).or_default() += 1;
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        self.things.get_mut(&id).map(|(_, thing)| thing)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let (owner, thing) = self.things.remove(&id)?;
        if let Some(count) = self.counts.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&owner);
            }
        }
        Some(thing)
    }

    pub(super) fn remove_of(&mut self, owner: u64) {
        self.things.retain(|_, (of, _)| *of != owner);
        self.counts.remove(&owner);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.things.iter().map(|(id, (_, thing))| (*id, thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(shares: &mut Shares<u64>, owner: u64, ids: std::ops::Range<u64>) {
        for id in ids {
            assert!(
                !matches!(shares.room_for(owner), Room::None),
                "{id} of {owner}"
            );
            shares.insert(id, owner, id);
        }
    }

    #[test]
    fn an_owner_has_at_most_its_share() {
        let mut shares = Shares::new(3, 10);
        fill(&mut shares, 1, 0..3);
        assert_eq!(shares.room_for(1), Room::None);
        assert_eq!(shares.room_for(2), Room::Free);
        shares.remove(0);
        assert_eq!(shares.room_for(1), Room::Free);
    }

    #[test]
    fn the_heaviest_owner_makes_room_with_its_oldest() {
        let mut shares = Shares::new(5, 8);
        fill(&mut shares, 1, 0..5);
        fill(&mut shares, 2, 5..8);
        assert_eq!(shares.room_for(3), Room::Made(0));
        shares.insert(8, 3, 8);
        assert_eq!(shares.iter().count(), 8);
    }

    #[test]
    fn equals_do_not_displace_each_other() {
        let mut shares = Shares::new(5, 4);
        fill(&mut shares, 1, 0..2);
        fill(&mut shares, 2, 2..4);
        assert_eq!(shares.room_for(1), Room::None);
        shares.remove_of(2);
        assert_eq!(shares.room_for(1), Room::Free);
    }
}
