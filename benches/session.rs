//! What the protocol costs: each side of the handshake, sealing, opening, framing.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use getrandom::SysRng;
use provisioning_core::domain::Pairing;
use provisioning_core::endpoint::Endpoint;
use provisioning_core::espressif::srp::PublicKey;
use provisioning_core::espressif::{self, User};
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::session::{self, Opening, PhoneSecret, Session};
use provisioning_core::wire::framing::{Reassembler, frames};
use rand_core::UnwrapErr;

const NODE: &str = "jarvis-5b91b661";

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

fn pairing() -> Pairing {
    Pairing { code: SecretText::new("042137".into()), secret: SecretBytes::new([7; 16]) }
}

fn phone_secret() -> PhoneSecret {
    PhoneSecret::Code(SecretText::new("042137".into()))
}

/// Both ends of an established session.
fn established() -> (Session, Session) {
    let (opening, open) = Opening::new(NODE, &phone_secret(), &mut rng());
    let (unconfirmed, accept) = session::accept(&open, &pairing(), NODE, &[], &mut rng()).expect("an honest phone");
    let phone = opening.read(&accept).expect("an honest node");
    (phone, unconfirmed.established())
}

fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("node", |bencher| {
        let (_, open) = Opening::new(NODE, &phone_secret(), &mut rng());
        bencher.iter(|| {
            session::check(&open).expect("an honest phone");
            session::accept(&open, &pairing(), NODE, &[], &mut rng()).expect("an honest phone")
        });
    });
    group.bench_function("phone", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    let mut spent = std::time::Duration::ZERO;
                    let mut timed = Stopwatch::start();
                    let (opening, open) = Opening::new(NODE, &phone_secret(), &mut rng());
                    spent += timed.lap();
                    let (_, accept) = session::accept(&open, &pairing(), NODE, &[], &mut rng()).expect("an honest phone");
                    timed.lap();
                    opening.read(&accept).expect("an honest node");
                    spent + timed.lap()
                })
                .sum()
        });
    });
    group.finish();
}

/// The handshake of Espressif's apps, the node's side: three exponentiations in a group of 3072 bits.
fn espressif_handshake(criterion: &mut Criterion) {
    let client = PublicKey::parse(&[2]).expect("a share");
    criterion.bench_function("handshake/espressif, node", |bencher| {
        bencher.iter(|| espressif::Handshake::answer(User::Code, &client, &pairing(), &mut rng()));
    });
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    let plaintext = vec![0x5a; 4096];
    group.throughput(Throughput::Bytes(4096));
    let (mut phone, _) = established();
    group.bench_function("seal", |bencher| bencher.iter(|| phone.seal(Endpoint::Credentials, &plaintext)));
    let (mut phone, mut node) = established();
    group.bench_function("open", |bencher| {
        bencher.iter_batched(
            || phone.seal(Endpoint::Credentials, &plaintext),
            |record| node.open(Endpoint::Credentials, &record).expect("sealed for it"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    let message = vec![0x5a; 4096];
    group.throughput(Throughput::Bytes(4096));
    for size in [20, 182, 495] {
        group.bench_function(format!("values of {size}"), |bencher| {
            let mut reassembler = Reassembler::new(4096);
            bencher.iter(|| frames(&message, size).iter().filter_map(|frame| reassembler.push(frame).expect("in order")).count());
        });
    }
    group.finish();
}

/// Times a part of an iteration.
struct Stopwatch(std::time::Instant);

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time; goes with the benchmark")]
impl Stopwatch {
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn lap(&mut self) -> std::time::Duration {
        let now = std::time::Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}

criterion_group!(benches, handshake, espressif_handshake, records, framing);
criterion_main!(benches);
