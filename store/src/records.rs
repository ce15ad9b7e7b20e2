//! Records: small facts that can be found again, kept in SQLite.
//!
//! `mica.db` is opened by the first call that needs it. Whatever is in it was computed from
//! content and can be computed again, so a damaged database is moved aside and made anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use crate::error::At;
use crate::{Store, StoreError};

/// How long a writer waits for another process's transaction: they take milliseconds.
const BUSY: Duration = Duration::from_secs(30);

/// Uses are noted once a day at most, so that most reads write nothing.
const USE_RESOLUTION: i64 = 24 * 60 * 60;

/// With row numbers, and the value last: what looks for a key or for the time of a use then does not
/// read the values, of which one may be megabytes long, on its way.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS records (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        last_used INTEGER NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    );
";

const GET: &str = "SELECT value, last_used FROM records WHERE kind = ?1 AND key = ?2";
const PUT: &str = "INSERT INTO records (kind, key, value, last_used) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET value = excluded.value, last_used = excluded.last_used";
const CONTAINS: &str = "SELECT 1 FROM records WHERE kind = ?1 AND key = ?2";
const TOUCH: &str = "UPDATE records SET last_used = ?3 WHERE kind = ?1 AND key = ?2";
const REMOVE: &str = "DELETE FROM records WHERE kind = ?1 AND key = ?2";
const REMOVE_ALL: &str = "DELETE FROM records WHERE kind = ?1";
const USES: &str =
    "SELECT key, value, last_used FROM records WHERE kind = ?1 ORDER BY last_used, key";
const ENTRIES: &str = "SELECT key, value FROM records WHERE kind = ?1 ORDER BY key";

/// The records of a store: values by kind and key.
///
/// Every method may fail with [`StoreError::Records`], or make an empty database in place of a
/// damaged one.
#[derive(Clone, Debug)]
pub struct Records {
    store: Store,
}

/// A value with its key, and when it was last used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordUse {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// In seconds since 1970; notes one use a day.
    pub last_used: i64,
}

/// The one connection of this process, made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Database(Mutex<Option<Connection>>);

impl Store {
    /// Returns the store's records. Opens nothing yet.
    pub fn records(&self) -> Records {
        Records {
            store: self.clone(),
        }
    }
}

impl Records {
    /// Returns a value.
    pub fn get(&self, kind: &str, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.get_many(kind, &[key])?.pop().flatten())
    }

    /// Returns the values of many keys, in the keys' order, in one transaction.
    pub fn get_many(
        &self,
        kind: &str,
        keys: &[impl AsRef<str>],
    ) -> Result<Vec<Option<String>>, StoreError> {
        if !self.path().exists() {
            return Ok(keys.iter().map(|_| None).collect());
        }
        self.run(|connection| {
            let (values, stale) = read(connection, kind, keys)?;
            if !stale.is_empty() {
                touch(connection, kind, &stale)?;
            }
            Ok(values)
        })
    }

    /// Tells of each key whether there is a value, without reading it.
    pub fn contains(&self, kind: &str, keys: &[impl AsRef<str>]) -> Result<Vec<bool>, StoreError> {
        if !self.path().exists() {
            return Ok(keys.iter().map(|_| false).collect());
        }
        self.run(|connection| {
            let mut statement = connection.prepare_cached(CONTAINS)?;
            let found = keys
                .iter()
                .map(|key| statement.exists([kind, key.as_ref()]));
            found.collect()
        })
    }

    /// Notes that values were used just now, in one transaction.
    pub fn note_use(&self, kind: &str, keys: &[&str]) -> Result<(), StoreError> {
        self.run(|connection| touch(connection, kind, keys))
    }

    /// Sets a value.
    pub fn put(&self, kind: &str, key: &str, value: &str) -> Result<(), StoreError> {
        self.put_many(kind, &[(key, value)])
    }

    /// Sets many values in one transaction: all of them or none.
    pub fn put_many(
        &self,
        kind: &str,
        entries: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> Result<(), StoreError> {
        self.run(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut statement = transaction.prepare_cached(PUT)?;
                for (key, value) in entries {
                    statement.execute(params![kind, key.as_ref(), value.as_ref(), now()])?;
                }
            }
            transaction.commit()
        })
    }

    /// Removes a value. It is no error when there is none.
    pub fn remove(&self, kind: &str, key: &str) -> Result<(), StoreError> {
        self.run(|connection| connection.execute(REMOVE, params![kind, key]).map(drop))
    }

    /// Removes many values, each by kind and key, in one transaction.
    pub fn remove_many(&self, keys: &[(&str, &str)]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.run(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (kind, key) in keys {
                transaction.prepare_cached(REMOVE)?.execute([kind, key])?;
            }
            transaction.commit()
        })
    }

    /// Removes all values of a kind.
    pub fn remove_all(&self, kind: &str) -> Result<(), StoreError> {
        self.run(|connection| connection.execute(REMOVE_ALL, params![kind]).map(drop))
    }

    /// Returns all keys of a kind, sorted.
    pub fn keys(&self, kind: &str) -> Result<Vec<String>, StoreError> {
        Ok(self
            .entries(kind)?
            .into_iter()
            .map(|(key, _)| key)
            .collect())
    }

    /// Returns all keys of a kind with their values, sorted by key.
    pub fn entries(&self, kind: &str) -> Result<Vec<(String, String)>, StoreError> {
        if !self.path().exists() {
            return Ok(Vec::new());
        }
        self.run(|connection| {
            let mut statement = connection.prepare_cached(ENTRIES)?;
            let rows = statement.query_map([kind], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// Returns all values of a kind, those first that were not used for longest.
    pub fn uses(&self, kind: &str) -> Result<Vec<RecordUse>, StoreError> {
        if !self.path().exists() {
            return Ok(Vec::new());
        }
        self.run(|connection| {
            let mut statement = connection.prepare_cached(USES)?;
            let rows = statement.query_map([kind], |row| {
                Ok(RecordUse {
                    key: row.get(0)?,
                    value: row.get(1)?,
                    last_used: row.get(2)?,
                })
            })?;
            rows.collect()
        })
    }

    fn path(&self) -> PathBuf {
        self.store.root().join("mica.db")
    }

    fn run<T>(
        &self,
        action: impl Fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = self.path();
        let mut connection = self.store.database().lock();
        let result = match self.run_once(&mut connection, &action)? {
            Err(error) if is_damage(&error) => {
                *connection = None;
                self.replace_damaged(&path)?;
                self.run_once(&mut connection, &action)?
            }
            result => result,
        };
        result.map_err(|source| StoreError::Records { path, source })
    }

    /// Opening takes turns: SQLite does not wait for another process that makes the database.
    fn run_once<T>(
        &self,
        slot: &mut Option<Connection>,
        action: impl Fn(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<rusqlite::Result<T>, StoreError> {
        let connection = match slot {
            Some(connection) => connection,
            None => {
                let _lock = self.store.lock_index()?;
                match open(&self.path()) {
                    Ok(connection) => slot.insert(connection),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        Ok(action(connection))
    }

    /// Moves the database aside, unless another process has done so since.
    fn replace_damaged(&self, path: &Path) -> Result<(), StoreError> {
        let _lock = self.store.lock_index()?;
        if open(path).and_then(|connection| check(&connection)).is_ok() {
            return Ok(());
        }
        for suffix in ["", "-wal", "-shm"] {
            let from = with_suffix(path, suffix);
            let to = with_suffix(path, &format!(".damaged{suffix}"));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at("move aside", &from);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Database {
    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        // A panic in between leaves no transaction open: SQLite rolls back what is dropped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn check(connection: &Connection) -> rusqlite::Result<()> {
    let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if answer == "ok" {
        Ok(())
    } else {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(rusqlite::Error::SqliteFailure(code, Some(answer)))
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Values in the keys' order, and the keys whose use was noted too long ago.
type Found<'a> = (Vec<Option<String>>, Vec<&'a str>);

fn read<'a>(
    connection: &mut Connection,
    kind: &str,
    keys: &'a [impl AsRef<str>],
) -> rusqlite::Result<Found<'a>> {
    let transaction = connection.transaction()?;
    let mut statement = transaction.prepare_cached(GET)?;
    let oldest = now() - USE_RESOLUTION;
    let (mut values, mut stale) = (Vec::with_capacity(keys.len()), Vec::new());
    for key in keys.iter().map(AsRef::as_ref) {
        let row = statement
            .query_row([kind, key], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        if row.as_ref().is_some_and(|(_, used)| *used < oldest) {
            stale.push(key);
        }
        values.push(row.map(|(value, _)| value));
    }
    Ok((values, stale))
}

fn touch(connection: &mut Connection, kind: &str, keys: &[&str]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for key in keys {
        transaction
            .prepare_cached(TOUCH)?
            .execute(params![kind, key, now()])?;
    }
    transaction.commit()
}

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    #[test]
    fn values_are_found_by_kind_and_key() {
        let (_directory, store) = store();
        let records = store.records();
        assert_eq!(records.get("a", "1").unwrap(), None);
        assert!(
            !store.root().join("mica.db").exists(),
            "reading opens nothing"
        );
        records
            .put_many("a", &[("2", "two"), ("1", "one")])
            .unwrap();
        records.put("b", "1", "other").unwrap();
        records.put("a", "2", "deux").unwrap();
        let values = records.get_many("a", &["2", "3", "1"]).unwrap();
        assert_eq!(values, [Some("deux".into()), None, Some("one".into())]);
        assert_eq!(records.contains("a", &["3", "1"]).unwrap(), [false, true]);
        assert_eq!(records.keys("a").unwrap(), ["1", "2"]);
        records.remove("a", "1").unwrap();
        assert_eq!(records.keys("a").unwrap(), ["2"]);
        records.remove_all("a").unwrap();
        assert_eq!(records.keys("a").unwrap(), [""; 0]);
        assert_eq!(records.get("b", "1").unwrap().as_deref(), Some("other"));
    }

    #[test]
    fn old_uses_are_noted_again() {
        let (_directory, store) = store();
        let records = store.records();
        records.put("a", "1", "one").unwrap();
        let last_used = || {
            records.run(|connection| {
                connection.query_row("SELECT last_used FROM records", [], |row| {
                    row.get::<_, i64>(0)
                })
            })
        };
        records
            .run(|connection| connection.execute("UPDATE records SET last_used = 7", []))
            .unwrap();
        records.get("a", "1").unwrap();
        assert!(last_used().unwrap() > 7);
    }

    #[test]
    fn a_damaged_database_is_made_anew() {
        let (_directory, store) = store();
        store.records().put("a", "1", "one").unwrap();
        let path = store.root().join("mica.db");
        let again = || Store::open(store.root()).unwrap().records();
        for garbage in [
            &b"this is no database, whatever its name says"[..],
            &[0xff; 8192],
        ] {
            fs::write(&path, garbage).unwrap();
            let _ = fs::remove_file(with_suffix(&path, "-wal"));
            assert_eq!(again().get("a", "1").unwrap(), None);
            again().put("a", "1", "two").unwrap();
            assert_eq!(again().get("a", "1").unwrap().as_deref(), Some("two"));
            assert_eq!(fs::read(with_suffix(&path, ".damaged")).unwrap(), garbage);
        }
    }

    #[test]
    fn many_threads_with_connections_of_their_own_lose_nothing() {
        let (_directory, store) = store();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let records = Store::open(store.root()).unwrap().records();
                scope.spawn(move || {
                    for number in 0..25 {
                        records
                            .put("a", &format!("{thread}/{number}"), "x")
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(store.records().keys("a").unwrap().len(), 100);
    }
}
