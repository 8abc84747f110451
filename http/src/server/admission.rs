//! Admission and eviction: pure rules for slots that peers share.
//!
//! A peer has at most [`Bounds::per_peer`] slots; beyond them it loses one of its own. When all slots are taken, the peer that
//! has most of them loses one, so that a peer with many slots cannot keep out a peer with few.

use std::cmp::Reverse;
use std::net::IpAddr;

/// The source of connections, as far as an address identifies it: an IPv4 address, or an IPv6 network of 64 bits,
/// within which a host chooses its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(u128);

impl Peer {
    /// The peer that has this address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() >> 64 << 64,
        })
    }
}

/// The number of slots.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For all peers together.
    pub all: usize,
    /// For one peer.
    pub per_peer: usize,
}

/// A slot in use.
#[derive(Clone, Copy, Debug)]
pub struct Slot<I, T> {
    /// Identifies it.
    pub id: I,
    /// The peer that has it.
    pub peer: Peer,
    /// Since when it is silent. `None`: it is busy, and is not evicted.
    pub silent_since: Option<T>,
}

/// The decision on a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission<I> {
    /// A slot is free.
    Free,
    /// Admit, and evict this slot.
    Evict(I),
    /// Refuse: every slot that could be evicted is busy.
    Full,
}

/// Decides on a newcomer, with the slots that are taken.
pub fn admit<I: Copy, T: Ord + Copy>(newcomer: Peer, bounds: Bounds, taken: &[Slot<I, T>]) -> Admission<I> {
    let own = taken.iter().filter(|slot| slot.peer == newcomer).count();
    let has_all_of_its_own = own >= bounds.per_peer;
    if !has_all_of_its_own && taken.len() < bounds.all {
        return Admission::Free;
    }
    let slots = Counts::of(taken.iter().map(|slot| slot.peer));
    taken
        .iter()
        .filter(|slot| !has_all_of_its_own || slot.peer == newcomer)
        .filter_map(|slot| Some((slots.get(slot.peer), Reverse(slot.silent_since?), slot.id)))
        .max_by_key(|(slots, silent_since, _)| (*slots, *silent_since))
        .map_or(Admission::Full, |(.., id)| Admission::Evict(id))
}

/// The number of slots of each peer. A list: usually there are few peers, and then comparing is faster than hashing.
struct Counts(Vec<(Peer, usize)>);

impl Counts {
    fn of(peers: impl Iterator<Item = Peer>) -> Self {
        let mut counts: Vec<(Peer, usize)> = Vec::new();
        for peer in peers {
            match counts.iter_mut().find(|(known, _)| *known == peer) {
                Some((_, count)) => *count += 1,
                None => counts.push((peer, 1)),
            }
        }
        Self(counts)
    }

    fn get(&self, peer: Peer) -> usize {
        self.0.iter().find(|(known, _)| *known == peer).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { all: 6, per_peer: 3 };

    fn peer(number: u8) -> Peer {
        Peer::of([10, 0, 0, number].into())
    }

    /// Slots of peers, each with the time since when it is silent; the index identifies it.
    fn taken(slots: &[(u8, Option<u32>)]) -> Vec<Slot<usize, u32>> {
        let slot = |(id, (number, silent_since)): (usize, &(u8, Option<u32>))| Slot {
            id,
            peer: peer(*number),
            silent_since: *silent_since,
        };
        slots.iter().enumerate().map(slot).collect()
    }

    #[test]
    fn a_peer_below_its_bound_is_admitted_to_a_free_slot() {
        assert_eq!(admit(peer(1), BOUNDS, &taken(&[])), Admission::Free);
        assert_eq!(
            admit(peer(1), BOUNDS, &taken(&[(1, Some(0)), (1, Some(1)), (2, Some(2)), (2, None), (2, None)])),
            Admission::Free
        );
    }

    #[test]
    fn a_peer_at_its_bound_loses_its_own_longest_silent_slot() {
        let slots = [(2, Some(0)), (1, Some(7)), (1, None), (1, Some(3))];
        assert_eq!(admit(peer(1), BOUNDS, &taken(&slots)), Admission::Evict(3));
    }

    #[test]
    fn a_peer_whose_slots_are_all_busy_is_refused() {
        let slots = [(2, Some(0)), (1, None), (1, None), (1, None)];
        assert_eq!(admit(peer(1), BOUNDS, &taken(&slots)), Admission::Full);
    }

    #[test]
    fn the_peer_with_most_slots_loses_one() {
        let slots = [(2, Some(0)), (1, Some(9)), (1, Some(8)), (1, None), (3, Some(1)), (3, Some(2))];
        assert_eq!(admit(peer(4), BOUNDS, &taken(&slots)), Admission::Evict(2));
    }

    #[test]
    fn a_busy_slot_is_never_evicted() {
        let slots = [(1, None), (1, None), (1, None), (2, None), (2, None), (3, Some(5))];
        assert_eq!(admit(peer(4), BOUNDS, &taken(&slots)), Admission::Evict(5));
        assert_eq!(admit(peer(4), BOUNDS, &taken(&[(1, None); 6])), Admission::Full);
    }

    #[test]
    fn one_host_of_ipv6_is_one_peer_and_a_mapped_address_is_its_ipv4_address() {
        let peer = |text: &str| Peer::of(text.parse().expect("an address"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }
}
