//! Who makes room when there is none: pure rules for places that peers take.
//!
//! A peer has at most [`Bounds::per_peer`] places; beyond them it replaces its own. When all places are taken, the peer that
//! has most of them makes room, so that nobody with a few places is kept out or loses them by one that takes many.

use std::cmp::Reverse;
use std::net::IpAddr;

/// The source of connections, as far as it can be told from an address: an IPv4 address, or an IPv6 network of 64 bits,
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

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For all peers together.
    pub all: usize,
    /// For one peer.
    pub per_peer: usize,
}

/// A place that is taken.
#[derive(Clone, Copy, Debug)]
pub struct Place<I, T> {
    /// Identifies it.
    pub id: I,
    /// Who has it.
    pub peer: Peer,
    /// Since when it is unused. `None`: it is in use, and nobody else gets it.
    pub silent_since: Option<T>,
}

/// Whether there is room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room<I> {
    /// A place is free.
    Free,
    /// This place is to be given up.
    InPlaceOf(I),
    /// Every place that could be given up is in use.
    Full,
}

/// Finds room for a newcomer among the places that are taken.
pub fn room<I: Copy, T: Ord + Copy>(newcomer: Peer, bounds: Bounds, taken: &[Place<I, T>]) -> Room<I> {
    let own = taken.iter().filter(|place| place.peer == newcomer).count();
    let has_all_of_its_own = own >= bounds.per_peer;
    if !has_all_of_its_own && taken.len() < bounds.all {
        return Room::Free;
    }
    let places = Counts::of(taken.iter().map(|place| place.peer));
    taken
        .iter()
        .filter(|place| !has_all_of_its_own || place.peer == newcomer)
        .filter_map(|place| Some((places.get(place.peer), Reverse(place.silent_since?), place.id)))
        .max_by_key(|(places, silent_since, _)| (*places, *silent_since))
        .map_or(Room::Full, |(.., id)| Room::InPlaceOf(id))
}

/// How many places each peer has. A list: usually there are few peers, and then comparing is faster than hashing.
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

    /// Places of peers, each with the time since when it is silent; the index identifies it.
    fn taken(places: &[(u8, Option<u32>)]) -> Vec<Place<usize, u32>> {
        let place = |(id, (number, silent_since)): (usize, &(u8, Option<u32>))| Place {
            id,
            peer: peer(*number),
            silent_since: *silent_since,
        };
        places.iter().enumerate().map(place).collect()
    }

    #[test]
    fn a_free_place_is_given_to_anybody_below_the_bound_of_a_peer() {
        assert_eq!(room(peer(1), BOUNDS, &taken(&[])), Room::Free);
        assert_eq!(room(peer(1), BOUNDS, &taken(&[(1, Some(0)), (1, Some(1)), (2, Some(2)), (2, None), (2, None)])), Room::Free);
    }

    #[test]
    fn a_peer_at_its_bound_replaces_its_own_longest_silent_place() {
        let places = [(2, Some(0)), (1, Some(7)), (1, None), (1, Some(3))];
        assert_eq!(room(peer(1), BOUNDS, &taken(&places)), Room::InPlaceOf(3));
    }

    #[test]
    fn a_peer_whose_places_are_all_in_use_gets_no_other() {
        let places = [(2, Some(0)), (1, None), (1, None), (1, None)];
        assert_eq!(room(peer(1), BOUNDS, &taken(&places)), Room::Full);
    }

    #[test]
    fn the_peer_with_most_places_makes_room() {
        let places = [(2, Some(0)), (1, Some(9)), (1, Some(8)), (1, None), (3, Some(1)), (3, Some(2))];
        assert_eq!(room(peer(4), BOUNDS, &taken(&places)), Room::InPlaceOf(2));
    }

    #[test]
    fn a_place_in_use_is_never_given_up() {
        let places = [(1, None), (1, None), (1, None), (2, None), (2, None), (3, Some(5))];
        assert_eq!(room(peer(4), BOUNDS, &taken(&places)), Room::InPlaceOf(5));
        assert_eq!(room(peer(4), BOUNDS, &taken(&[(1, None); 6])), Room::Full);
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
