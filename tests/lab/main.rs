//! The laboratory's scenarios: a node and a phone on virtual radios, with the real `bluetoothd`.
//!
//! They are built only with the feature `lab`, and run in the guests that `tests/lab/run` boots, one process each. All
//! processes of a scenario end with it.
//!
//! | module | contents |
//! |---|---|
//! | `gatt` | Bluetooth alone: a node on a simulated network |
//! | `over_bluetooth`, `over_access_point` | the complete system: the node's program, a home, a command center |
//! | `att` | the complete system, and a phone with the smallest MTU |
//! | `hostapd` | the complete system without NetworkManager |
//! | `homes` | the radio alone, and networks as homes have them |
//! | `bad_input` | the complete system, and a phone that sends invalid input |
//! | `resets` | factory resets, with the real NetworkManager |
//! | `trouble` | the complete system, and a failure of one part |
//! | `phone_program` | the phone's program, over Bluetooth and in the access point |
//! | `captive_portal` | the probes that phones send in the access point |
//! | `mdns_service` | the node's mDNS service in the home's network |
//! | `battery` | a phone that serves its battery level, and a stock `BlueZ` |
//! | `browser` | the setup page and the site in a browser of the host, which uses the radios of the guest's phone |
//! | `care` | the packaged service as a caretaker of the network |
//! | `panel` | the packaged service's object on the bus, its light and its button |
//! | `espressif` | an independent client of Espressif's protocol |
//! | `improv`, `nymea` | clients of protocols without a session |
//! | `traffic` | what goes over the air |
//! | `field` | what devices meet where they are used: networks of others, resets of the adapter, a slow router |
//! | `surroundings` | services that hang around the node |
//! | `units` | the programs started by their systemd units |
//! | `bench` | the figures |
//! | `scene` | the common start of scenarios of the complete system |
//! | `air`, `place`, `street`, `desk` | radios, a home, other networks on its radio, and the phone's place |
//! | `central` | a client on the phone's controller |
//! | `dns` | queries for names |
//! | `l2cap` | the kernel's socket for the Attribute Protocol |
//! | `node`, `device` | the node in this process, and as a program |

mod air;
mod att;
mod bad_input;
mod battery;
mod bench;
mod browser;
mod captive_portal;
mod care;
mod central;
mod desk;
mod device;
mod dns;
mod enterprise;
mod espressif;
mod field;
mod gatt;
mod homes;
mod hostapd;
mod improv;
mod l2cap;
mod mdns_service;
mod node;
mod nymea;
mod over_access_point;
mod over_bluetooth;
mod panel;
mod phone_program;
mod place;
mod resets;
mod scene;
mod street;
mod surroundings;
mod traffic;
mod trouble;
mod units;
