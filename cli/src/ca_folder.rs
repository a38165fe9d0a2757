//! The folder of a CA: `ca.pem`, `ca.key`, what was issued (`issued.tsv`), what was taken back (`revoked.tsv`), the lists
//! that say so to the nodes (`crl.pem`), and while the CA is being replaced `old-ca.key`.

mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdcq_certs::{Authority, AuthorityError, Issued, KeyKind, Revoked, Serial, describe, describe_lists};
use rdcq_env::Mode;
use rdcq_wire::{Identity, NodeId};

use crate::certificate_files::{CertificateFiles, read, write};
use crate::failure::Failure;
pub(crate) use records::Entry;
use records::{Records, TakenBack};

/// How long after its end a certificate stays on the lists, in seconds: longer than any clock is wrong.
const LISTED_AFTER_END_S: u64 = 24 * 3600;

/// Largest file of lists written, in bytes: nodes read no larger one.
const MAX_LISTS_BYTES: usize = 4 * 1024 * 1024;

/// The folder of a CA, read.
pub(crate) struct CaFolder {
    folder: PathBuf,
    authority: Authority,
    /// The CA that is being replaced, which signs nothing any more but its list.
    old: Option<Authority>,
}

/// Which lists were written.
pub(crate) struct Lists {
    pub(crate) path: PathBuf,
    /// How many certificates are on them.
    pub(crate) revoked: usize,
    pub(crate) next_update_unix_s: u64,
}

impl CaFolder {
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let files = CertificateFiles::new(folder);
        let authority = files.read_authority()?;
        let old_key = old_key_path(folder);
        let old = if old_key.exists() {
            match Authority::from_pem(&read(&files.ca())?, &read(&old_key)?) {
                // A replacement that was cut off before it took effect has left the key that is in use.
                Ok(old) => (old.cert_pem() != authority.cert_pem()).then_some(old),
                // One that was cut off at its end has left the key of a CA that nobody trusts any more.
                Err(AuthorityError::OtherKey(_)) => None,
                Err(error) => return Err(Failure::other(format!("{}: {error}", old_key.display()))),
            }
        } else {
            None
        };
        Ok(Self { folder: folder.to_owned(), authority, old })
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The CAs that nodes are to trust.
    pub(crate) fn bundle(&self) -> String {
        let old = self.old.as_ref().map_or("", Authority::cert_pem);
        [self.authority.cert_pem(), old].concat()
    }

    /// The lists that a node with its files in `folder` is given, if there are any. This folder is not given its own back:
    /// somebody may be signing others at this moment.
    pub(crate) fn lists_for(&self, folder: &Path) -> Result<Option<String>, Failure> {
        let here = std::fs::canonicalize(&self.folder);
        let here = here.map_err(|error| Failure::of_file("find", &self.folder, &error))?;
        // A folder that is still to be made is another.
        if std::fs::canonicalize(folder).is_ok_and(|folder| folder == here) {
            return Ok(None);
        }
        self.lists()
    }

    /// The lists, if there are any.
    fn lists(&self) -> Result<Option<String>, Failure> {
        let path = self.lists_path();
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    fn lists_path(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }

    /// Issues a certificate that can be taken back by its node's name: it is written down before anybody has it.
    pub(crate) fn issue(&self, identity: &Identity, now_unix_ms: u64) -> Result<Issued, Failure> {
        issue(&self.folder, &self.authority, identity, now_unix_ms)
    }

    /// What was issued.
    pub(crate) fn issued(&self) -> Result<BTreeMap<Serial, Entry>, Failure> {
        Records::open(&self.folder.join("issued.tsv"))?.read(|entry: &Entry| &entry.serial)
    }

    /// The certificates of a node that have not ended.
    pub(crate) fn of_node(&self, node: &NodeId, now_unix_ms: u64) -> Result<Vec<Entry>, Failure> {
        let issued = self.issued()?.into_values();
        Ok(issued
            .filter(|entry| entry.identity.node == *node && entry.not_after_unix_s > now_unix_ms / 1000)
            .collect())
    }

    /// What was taken back.
    pub(crate) fn revoked(&self) -> Result<BTreeSet<Serial>, Failure> {
        let path = self.folder.join("revoked.tsv");
        if !path.exists() {
            return Ok(BTreeSet::new());
        }
        let revoked = Records::open(&path)?.read(|line: &TakenBack| &line.0.serial)?;
        Ok(revoked.into_keys().collect())
    }

    /// Takes certificates back and signs the lists anew, also if there is nothing to add: they have to be renewed before
    /// they end. Says which of the certificates were not taken back before.
    pub(crate) fn revoke(
        &self,
        serials: &BTreeSet<Serial>,
        lasting: Duration,
        now_unix_ms: u64,
    ) -> Result<(Vec<Serial>, Lists), Failure> {
        let issued = self.issued()?;
        let mut records = Records::open(&self.folder.join("revoked.tsv"))?;
        let mut known = records.read(|line: &TakenBack| &line.0.serial)?;
        let added: Vec<_> = serials
            .iter()
            .filter(|serial| !known.contains_key(*serial))
            .map(|serial| TakenBack(Revoked { serial: serial.clone(), at_unix_s: now_unix_ms / 1000 }))
            .collect();
        records.add(&added)?;
        known.extend(added.iter().map(|line| (line.0.serial.clone(), line.clone())));
        let ended = |serial: &Serial| {
            issued.get(serial).is_some_and(|entry| {
                entry.not_after_unix_s.saturating_add(LISTED_AFTER_END_S) < now_unix_ms / 1000
            })
        };
        let listed: Vec<_> =
            known.into_values().map(|line| line.0).filter(|revoked| !ended(&revoked.serial)).collect();
        let lists = self.write_lists(&listed, lasting, now_unix_ms)?;
        Ok((added.into_iter().map(|line| line.0.serial).collect(), lists))
    }

    /// Writes a list of each CA. All of them name all certificates, whose numbers do not repeat between CAs.
    fn write_lists(
        &self,
        revoked: &[Revoked],
        lasting: Duration,
        now_unix_ms: u64,
    ) -> Result<Lists, Failure> {
        let mut pem = String::new();
        for authority in [&self.authority].into_iter().chain(&self.old) {
            pem += &authority.revocation_list(revoked, lasting, now_unix_ms)?;
        }
        if pem.len() > MAX_LISTS_BYTES {
            let what = format!("a list of {} certificates is longer than nodes read", revoked.len());
            return Err(
                Failure::other(what).with_hint("replace the CA: what the old one issued is then void")
            );
        }
        let path = self.lists_path();
        write(&path, &pem, Mode::Shared)?;
        let next_update_unix_s = now_unix_ms / 1000 + lasting.as_secs();
        Ok(Lists { path, revoked: revoked.len(), next_update_unix_s })
    }

    /// Begins to replace the CA: from now on a new one signs, and nodes are to trust both. A crash in between leaves the
    /// CA that there was, as the new one's key comes last; after that only the lists are missing, which are then signed.
    pub(crate) fn begin_replacement(self, lasting: Duration, now_unix_ms: u64) -> Result<Self, Failure> {
        if self.old.is_some() {
            if self.lacks_a_list()? {
                self.renew_lists(lasting, now_unix_ms)?;
                return Ok(self);
            }
            return Err(Failure::other("the CA is being replaced already").with_hint(
                "`rdcq certs rotate-ca --finish` ends that, once all nodes have new certificates",
            ));
        }
        let herd = self.authority.herd().clone();
        let new = Authority::generate(herd, KeyKind::P256, now_unix_ms)?;
        let next = Self { folder: self.folder, authority: new, old: Some(self.authority) };
        let files = CertificateFiles::new(&next.folder);
        let old_key = next.old.as_ref().map_or("", Authority::key_pem);
        write(&old_key_path(&next.folder), old_key, Mode::Private)?;
        write(&files.ca(), &next.bundle(), Mode::Shared)?;
        write(&files.ca_key(), next.authority.key_pem(), Mode::Private)?;
        next.renew_lists(lasting, now_unix_ms)?;
        Ok(next)
    }

    /// The nodes that would be cut off if the old CA were gone: all of whose certificates are its.
    pub(crate) fn left_behind(&self, now_unix_ms: u64) -> Result<BTreeSet<NodeId>, Failure> {
        let own = describe(self.authority.cert_pem()).map_err(Failure::other)?;
        let own = own.first().map(|ca| ca.serial.clone());
        let revoked = self.revoked()?;
        let alive =
            |entry: &Entry| entry.not_after_unix_s > now_unix_ms / 1000 && !revoked.contains(&entry.serial);
        let alive: Vec<_> = self.issued()?.into_values().filter(alive).collect();
        let (new, old): (Vec<_>, Vec<_>) =
            alive.into_iter().partition(|entry| Some(&entry.ca) == own.as_ref());
        let new: BTreeSet<_> = new.into_iter().map(|entry| entry.identity.to_spiffe()).collect();
        Ok(old
            .into_iter()
            .filter(|entry| !new.contains(&entry.identity.to_spiffe()))
            .map(|entry| entry.identity.node)
            .collect())
    }

    /// Whether there are lists, and none among them of the CA that signs.
    fn lacks_a_list(&self) -> Result<bool, Failure> {
        let Some(lists) = self.lists()? else { return Ok(false) };
        let own = describe(self.authority.cert_pem()).map_err(Failure::other)?;
        let own = own.into_iter().next().and_then(|ca| ca.key_id);
        let lists = describe_lists(&lists).map_err(Failure::other)?;
        Ok(!lists.into_iter().any(|list| list.issuer_key_id == own))
    }

    /// Whether nothing is written down of what the old CA issued, so that nobody knows who has a certificate of it.
    pub(crate) fn knows_nothing_of_the_old(&self) -> Result<bool, Failure> {
        let Some(old) = &self.old else { return Ok(false) };
        let old = describe(old.cert_pem()).map_err(Failure::other)?;
        let old = old.first().map(|ca| &ca.serial);
        Ok(!self.issued()?.values().any(|entry| Some(&entry.ca) == old))
    }

    /// Ends the replacement: the old CA is not trusted any more. Once more after a crash, it removes what is left.
    pub(crate) fn finish_replacement(self, lasting: Duration, now_unix_ms: u64) -> Result<Self, Failure> {
        let old_key = old_key_path(&self.folder);
        if self.old.is_none() && !old_key.exists() {
            return Err(Failure::other("the CA is not being replaced")
                .with_hint("`rdcq certs rotate-ca` without --finish begins that"));
        }
        let next = Self { old: None, ..self };
        next.renew_lists(lasting, now_unix_ms)?;
        write(&CertificateFiles::new(&next.folder).ca(), &next.bundle(), Mode::Shared)?;
        std::fs::remove_file(&old_key).map_err(|error| Failure::of_file("remove", &old_key, &error))?;
        Ok(next)
    }

    /// Signs the lists for the CAs that there are now, in herds that use lists.
    fn renew_lists(&self, lasting: Duration, now_unix_ms: u64) -> Result<(), Failure> {
        if self.lists_path().exists() {
            self.revoke(&BTreeSet::new(), lasting, now_unix_ms)?;
        }
        Ok(())
    }
}

/// Where the key is of the CA that is being replaced.
fn old_key_path(folder: &Path) -> PathBuf {
    folder.join("old-ca.key")
}

/// Issues a certificate and writes it down in the CA's folder.
pub(crate) fn issue(
    folder: &Path,
    authority: &Authority,
    identity: &Identity,
    now_unix_ms: u64,
) -> Result<Issued, Failure> {
    let issued = authority.issue(identity, now_unix_ms)?;
    let ca = describe(authority.cert_pem()).map_err(Failure::other)?;
    let ca = ca.into_iter().next().ok_or_else(|| Failure::other("the CA has no certificate"))?;
    Records::open(&folder.join("issued.tsv"))?.add(&[Entry::of(&issued, ca.serial, identity)])?;
    Ok(issued)
}
