//! Certificates of every kind.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

/// When a certificate is good.
#[derive(Clone, Copy)]
pub enum Validity {
    Now,
    Past,
    Future,
    /// Now, and not much longer.
    Soon,
}

/// Signs certificates and takes them back.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

pub struct Signed {
    /// Certificate and private key.
    pub pem: String,
    /// The certificate alone.
    pub der: Vec<u8>,
    serial: SerialNumber,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// A certificate of a subject as `C=DE,CN=name`, first attribute first.
    pub fn sign(&self, subject: &str, validity: Validity) -> Signed {
        self.make(subject, validity, vec!["localhost".into(), "127.0.0.1".into()])
    }

    /// One that names no machine.
    pub fn sign_nameless(&self, subject: &str) -> Signed {
        self.make(subject, Validity::Now, Vec::new())
    }

    fn make(&self, subject: &str, validity: Validity, names: Vec<String>) -> Signed {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = name(subject);
        let key = KeyPair::generate().unwrap();
        let serial = SerialNumber::from_slice(&key.public_key_raw()[1..17]);
        params.serial_number = Some(serial.clone());
        match validity {
            Validity::Now => {}
            Validity::Past => (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2020, 1, 1)),
            Validity::Future => (params.not_before, params.not_after) = (date_time_ymd(2090, 1, 1), date_time_ymd(2100, 1, 1)),
            Validity::Soon => params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(86_400)).into(),
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed { pem: certificate.pem() + &key.serialize_pem(), der: certificate.der().to_vec(), serial }
    }

    /// The list of what was taken back.
    pub fn revoke(&self, taken_back: &[&Signed], validity: Validity) -> String {
        let revoked = |one: &&Signed| RevokedCertParams {
            serial_number: one.serial.clone(),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let next_update = match validity {
            Validity::Past => date_time_ymd(2022, 1, 1),
            _ => date_time_ymd(2100, 1, 1),
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2021, 1, 1),
            next_update,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: taken_back.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

fn name(subject: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let (mut parts, mut escaped) = (vec![String::new()], false);
    for c in subject.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            ',' if !escaped => parts.push(String::new()),
            c => {
                parts.last_mut().unwrap().push(c);
                escaped = false;
            }
        }
    }
    for part in parts {
        let (kind, value) = part.split_once('=').unwrap();
        let kind = match kind {
            "C" => DnType::CountryName,
            "ST" => DnType::StateOrProvinceName,
            "L" => DnType::LocalityName,
            "O" => DnType::OrganizationName,
            "OU" => DnType::OrganizationalUnitName,
            "CN" => DnType::CommonName,
            "UID" => DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]),
            "DC" => DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]),
            other => panic!("{other}"),
        };
        name.push(kind, value);
    }
    name
}
