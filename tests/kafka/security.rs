//! Brokers that want to know who speaks, over encrypted connections: TLS, PLAIN and SCRAM, against Kafka itself.
//!
//! Sees: an option that does not reach the brokers, a connection to whom nobody vouches for, a password where it may be read.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use prefold::log::kafka::{Mechanism, Sasl, Tls};
use prefold::log::{KafkaOptions, ReadFrom};

use super::cluster::{Cluster, Ports};
use super::topics::{append, open, options, payloads, read, record};

/// A key and a certificate for 127.0.0.1, signed by itself, and the same for clients to trust.
fn certificate(folder: &Path) {
    let keytool = |arguments: &[&str]| {
        let output = Command::new("keytool").args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    let made = "-genkeypair -keystore broker.p12 -storetype PKCS12 -storepass changeit -alias b -keyalg RSA -validity 30 \
                -dname CN=127.0.0.1 -ext san=ip:127.0.0.1";
    keytool(&made.split_whitespace().collect::<Vec<_>>());
    keytool(&["-exportcert", "-rfc", "-keystore", "broker.p12", "-storepass", "changeit", "-alias", "b", "-file", "ca.pem"]);
}

/// A listener for clients over TLS that say who they are.
fn guarded(ports: &Ports, folder: &Path) -> String {
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required user_prefold=\"open-sesame\";";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    let Ports { plain: port, controller, guarded } = ports;
    format!(
        "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},GUARDED://127.0.0.1:{guarded}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},GUARDED://127.0.0.1:{guarded}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL\n\
         ssl.keystore.location={}/broker.p12\n\
         ssl.keystore.password=changeit\n\
         sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.guarded.plain.sasl.jaas.config={plain}\n\
         listener.name.guarded.scram-sha-256.sasl.jaas.config={scram}\n\
         listener.name.guarded.scram-sha-512.sasl.jaas.config={scram}\n",
        folder.display()
    )
}

#[test]
fn brokers_are_told_who_we_are_and_trusted_when_somebody_vouches_for_them() {
    let folder = tempfile::tempdir().unwrap();
    if super::cluster::shared().is_none() {
        return;
    }
    certificate(folder.path());
    let cluster = Cluster::start_with(1, |ports| guarded(ports, folder.path())).unwrap();
    let trusting = Tls { ca_file: Some(folder.path().join("ca.pem")), ..Tls::default() };
    let with = |mechanism, password: &str, tls: Option<Tls>| KafkaOptions {
        sasl: Some(Sasl { mechanism, username: "prefold".to_owned(), password: password.to_owned() }),
        tls,
        ..options(&cluster.guarded(), "t")
    };
    for (count, mechanism) in (1..).zip([Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512]) {
        let log = open(with(mechanism, "open-sesame", Some(trusting.clone()))).unwrap();
        append(&*log, vec![record(0, format!("{mechanism:?}"))]);
        let read = payloads(&read(&*log, ReadFrom::Beginning, count));
        assert_eq!(read.last(), Some(&format!("{mechanism:?}")));
    }
    let refused = |options: KafkaOptions| {
        let options = KafkaOptions { open_timeout: Duration::from_millis(10), ..options };
        open(options).err().unwrap().to_string()
    };
    let nobody = KafkaOptions { sasl: None, ..with(Mechanism::Plain, "", Some(trusting.clone())) };
    for options in [
        with(Mechanism::ScramSha512, "let-me-in", Some(trusting)),
        with(Mechanism::ScramSha512, "let-me-in", Some(Tls::default())),
        with(Mechanism::ScramSha512, "let-me-in", None),
        nobody,
    ] {
        let error = refused(options);
        assert!(error.contains("cannot reach Kafka at") && error.contains("log.kafka.sasl"), "{error}");
        assert!(!error.contains("let-me-in"), "a password is shown: {error}");
    }
}
