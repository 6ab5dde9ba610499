//! The handle of a table, what stands behind it, and its life: made, owned, passed on, gone.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use super::common::{Access, Clearing, Common, Deletion, Expiry, Need, Owner};
use super::error::TableError;
use super::info::TableInfo;
use super::keeper::{self, Job, Rubbish, Sweeper};
use super::kind::{Keeps, Set, TableKind};
use super::owner::{SomeHeir, heir};
use super::store::{Cleared, Content, NEVER, Store, Swept};
use super::tables::Tables;
use crate::exit;
use crate::process::belongings::Belonging;
use crate::process::cell::CellRef;
use crate::process::context::ProcessContext;
use crate::process::pid::Pid;
use crate::sched::core::{CoreRef, STOPPED};
use crate::sync::atomic::Ordering::Acquire;
use crate::sync::{Arc, Mutex};
use crate::system::Handle;

/// What is cleared up at once; more than that is the keeper's work.
const FEW: usize = 256;

/// A table of objects, each a key of type `K` and a value of type `V`, that processes and threads share:
/// see [the module](super).
///
/// This is a handle: cheap to clone, and equal to every other handle on the same table. It keeps neither a
/// process running nor the table alive; once that is gone, every operation is
/// [`TableError::Gone`].
///
/// # Where closures run
/// Under a lock of the table, as do `Hash`, `Eq`, `Ord` and `Clone` of keys and values: keep them short. They
/// may use tables that were made later than this one; with this one, or an older one, they get
/// [`TableError::Nested`]. One that panics leaves the objects as they were, and the panic goes on to the
/// caller. `Drop` of what the table gives up runs under no lock.
///
/// # Errors
/// Every operation can fail with [`TableError::Gone`]; with [`TableError::Access`], if the caller may not read
/// or write the table; and with [`TableError::Nested`]. Where there is more to say, the method does.
pub struct Table<K, V, Kind: TableKind = Set> {
    pub(super) inner: Arc<Inner<K, V, Kind>>,
}

/// The table itself.
pub(super) struct Inner<K, V, Kind: TableKind> {
    pub(super) common: Common,
    pub(super) store: Kind::Store<K, V>,
    pub(super) heir: Mutex<Option<SomeHeir<K, V, Kind>>>,
}

impl<K, V, Kind: TableKind> Clone for Table<K, V, Kind> {
    fn clone(&self) -> Self {
        Table {
            inner: self.inner.clone(),
        }
    }
}

impl<K, V, Kind: TableKind> PartialEq for Table<K, V, Kind> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl<K, V, Kind: TableKind> Eq for Table<K, V, Kind> {}

impl<K, V, Kind: TableKind> fmt::Debug for Table<K, V, Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let common = &self.inner.common;
        let mut f = f.debug_struct("Table");
        f.field("number", &common.number).field("kind", &Kind::TYPE);
        if let Some(name) = &common.rights.lock().name {
            f.field("name", name);
        }
        f.finish_non_exhaustive()
    }
}

/// How a table is to be. OTP: the options of `ets:new/2`.
///
/// ```
/// # use noex::prelude::*;
/// use std::time::Duration;
/// use noex::ets::{Access, OrderedSet, Table, TableBuilder};
///
/// # let system = System::new()?;
/// let scores: TableBuilder<u32, String, OrderedSet> = Table::builder()
///     .named("scores")
///     .access(Access::Public)
///     .ttl(Duration::from_secs(3600));
/// let scores = system.table(scores)?;
/// scores.insert(90, "ann".into())?;
/// # Ok::<(), noex::Error>(())
/// ```
pub struct TableBuilder<K, V, Kind: TableKind = Set> {
    name: Option<Arc<str>>,
    access: Option<Access>,
    ttl: Option<Duration>,
    sweep_every: Duration,
    heir: Option<SomeHeir<K, V, Kind>>,
    keypos: Option<usize>,
}

impl<K, V, Kind: TableKind> fmt::Debug for TableBuilder<K, V, Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableBuilder")
            .field("kind", &Kind::TYPE)
            .field("name", &self.name)
            .field("access", &self.access)
            .field("ttl", &self.ttl)
            .field("sweep_every", &self.sweep_every)
            .finish_non_exhaustive()
    }
}

impl<K, V, Kind: TableKind> Default for TableBuilder<K, V, Kind> {
    fn default() -> Self {
        TableBuilder {
            name: None,
            access: None,
            ttl: None,
            sweep_every: Duration::from_secs(1),
            heir: None,
            keypos: None,
        }
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> TableBuilder<K, V, Kind> {
    /// The defaults that each method names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the table a name, by which [`Handle::table_named`](crate::Handle::table_named) finds it. A
    /// system has one namespace for its tables, apart from that of processes. Default: none. OTP:
    /// `named_table`.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Who may read and write it besides its owner. Default: [`Access::Protected`], as OTP's; of a table of
    /// the system's, where nobody but users who are not the owner are, [`Access::Public`].
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// How long an object stays that is inserted without a time of its own. An update does not change how
    /// long. Default: until it is deleted.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How often, at the most, what has expired is removed. It is absent for every operation in any case;
    /// this is about memory. Each time, the whole table is looked through. Default: every second, and only
    /// when something has expired.
    pub fn sweep_every(mut self, interval: Duration) -> Self {
        self.sweep_every = interval;
        self
    }

    /// Sets who gets the table when its owner dies: see [`Table::set_heir`]. Default: nobody. OTP: `{heir,
    /// Pid, HeirData}`.
    pub fn heir<D, H>(mut self, to: &H, data: D) -> Self
    where
        D: Clone + Send + 'static,
        H: crate::Destination<super::Transfer<K, V, Kind, D>> + Clone + Send + Sync + 'static,
    {
        self.heir = Some(heir(to, data));
        self
    }

    /// The builder of a table whose objects have their key at this position.
    pub(super) fn of_objects(
        keypos: usize,
        name: Option<Arc<str>>,
        access: Option<Access>,
        heir: Option<SomeHeir<K, V, Kind>>,
    ) -> Self {
        TableBuilder {
            name,
            access,
            heir,
            keypos: Some(keypos),
            ..Self::default()
        }
    }

    /// Makes the table, owned by the process of `cx`.
    ///
    /// # Errors
    /// [`TableError::NameTaken`].
    ///
    /// # Panics
    /// If this is not the process's turn.
    pub fn build(self, cx: &ProcessContext) -> Result<Table<K, V, Kind>, TableError> {
        let owner = Owner::Process(cx.pid());
        let (table, made) = self.make(cx.core(), owner, Access::Protected);
        made.map(|()| table)
    }

    /// Makes a table of the system's.
    pub(super) fn build_for(self, core: &CoreRef) -> Result<Table<K, V, Kind>, TableError> {
        let (table, made) = self.make(core, Owner::System, Access::Public);
        made.map(|()| table)
    }

    /// Makes a table; if the result is an error, one that is not there.
    pub(super) fn make(
        self,
        core: &CoreRef,
        owner: Owner,
        access: Access,
    ) -> (Table<K, V, Kind>, Result<(), TableError>) {
        self.make_with(core, owner, access, |_| {})
    }

    /// As [`make`](Self::make); `prepare` gets the table before anybody can see it.
    pub(super) fn make_with(
        self,
        core: &CoreRef,
        owner: Owner,
        access: Access,
        prepare: impl FnOnce(&Inner<K, V, Kind>),
    ) -> (Table<K, V, Kind>, Result<(), TableError>) {
        let common = Common::new(
            core.clone(),
            owner,
            self.access.unwrap_or(access),
            self.name,
            self.ttl,
            self.sweep_every,
            self.keypos,
        );
        let inner = Arc::new(Inner {
            common,
            store: Kind::Store::<K, V>::new(),
            heir: Mutex::new(self.heir),
        });
        prepare(&inner);
        let entered = if core.state.load(Acquire) == STOPPED {
            Err(TableError::Gone)
        } else {
            core.attached.get::<Tables>().enter(inner.clone())
        };
        match owner {
            _ if entered.is_err() => inner.common.close(),
            Owner::Process(pid) if !inner.own(pid) => {
                // It is in its last turn already.
                inner.orphan();
            }
            _ => {}
        }
        (Table { inner }, entered)
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Table<K, V, Kind> {
    /// Makes a protected table without a name, owned by the process of `cx`: a server's
    /// [`Context`](crate::Context) or an [`Inbox`](crate::Inbox). OTP: `ets:new/2`.
    ///
    /// # Panics
    /// If this is not the process's turn.
    pub fn new(cx: &ProcessContext) -> Self {
        let owner = Owner::Process(cx.pid());
        // A table without a name is refused only in the last turns of a system's end: it is gone, then.
        let builder = TableBuilder::new();
        builder.make(cx.core(), owner, Access::Protected).0
    }

    /// A table with a name, a time or an heir, or open to all.
    pub fn builder() -> TableBuilder<K, V, Kind> {
        TableBuilder::new()
    }

    /// Deletes the table. Every operation that comes later fails; what it held is dropped, a large table's
    /// content bit by bit by the keeper. For whoever may write the table. OTP: `ets:delete/1`.
    pub fn delete_table(&self) -> Result<(), TableError> {
        let cleared = self
            .inner
            .store
            .clear(&Deletion::of(self.inner.common.write()))?;
        self.inner.forget();
        self.inner.dispose(cleared);
        Ok(())
    }

    /// Deletes all objects, at once and isolated. OTP: `ets:delete_all_objects/1`.
    pub fn delete_all(&self) -> Result<(), TableError> {
        let cleared = self.inner.store.clear(&self.inner.common.write())?;
        self.inner.dispose(cleared);
        Ok(())
    }

    /// Gives the table another name; one without a name stays so. For whoever may write the table. OTP:
    /// `ets:rename/2`.
    ///
    /// # Errors
    /// [`TableError::NameTaken`]: by any table, this one too.
    pub fn rename(&self, name: impl Into<Arc<str>>) -> Result<(), TableError> {
        use super::store::Terms;
        let common = &self.inner.common;
        common.write().admit()?;
        common
            .core
            .attached
            .get::<Tables>()
            .rename(&self.inner, name.into())
    }

    /// The system the table is in.
    pub fn system(&self) -> Handle {
        Handle::new(self.inner.common.core.clone())
    }

    /// Whether the table is still there.
    pub fn is_alive(&self) -> bool {
        !self.inner.common.is_gone()
    }

    /// How many objects there are: exact if nothing changes meanwhile. One that has expired counts until it
    /// is swept.
    pub fn len(&self) -> Result<usize, TableError> {
        use super::store::Terms;
        self.inner.common.pass(Need::Keep).admit()?;
        Ok(self.inner.store.len())
    }

    /// Whether there are none; as [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool, TableError> {
        self.len().map(|len| len == 0)
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Inner<K, V, Kind> {
    /// Makes it one of the belongings of `owner`, whose it is. `false`: that process is dead.
    pub(super) fn own(self: &Arc<Self>, owner: Pid) -> bool {
        let core = &self.common.core;
        core.find(owner).is_some_and(|cell| self.belong(&cell))
    }

    /// As [`own`](Self::own), of a process that was found already.
    pub(super) fn belong(self: &Arc<Self>, cell: &CellRef) -> bool {
        let belongings = &self.common.core.belongings;
        belongings
            .give(cell, self.common.number, self.clone())
            .is_ok()
    }

    /// Takes note of when something expires that has been inserted.
    #[inline]
    pub(super) fn expect(&self, expires: u64) {
        if expires != NEVER && self.common.plan.expect(expires) {
            keeper::tell(&self.common.core, Job::Plan(self.common.number));
        }
    }

    /// When an object that is inserted now expires.
    #[inline]
    pub(super) fn expires(&self, expiry: Expiry) -> u64 {
        self.common.expires(expiry)
    }

    /// Deletes the table as nobody owns it.
    pub(super) fn orphan(self: &Arc<Self>) {
        if !self.common.vanish() {
            return;
        }
        match self.store.clear(&Clearing) {
            Ok(mut cleared) => {
                self.forget();
                if cleared.objects() > FEW {
                    self.dispose(cleared);
                } else {
                    // One by one: more than one `Drop` may panic, and the owner is dying as it is.
                    while exit::catch(|| cleared.drop_some(FEW)) != Ok(false) {}
                }
            }
            // From under a lock of the table, as by the end of the system in a closure: the store goes with
            // the last handle.
            Err(_) => self.forget(),
        }
    }

    /// Lets go of what knows a table that is gone.
    fn forget(self: &Arc<Self>) {
        let core = &self.common.core;
        core.attached.get::<Tables>().leave(self.as_ref());
        if let Owner::Process(owner) = self.common.owner() {
            drop(core.belongings.take_back(core, owner, self.common.number));
        }
        let heir = self.heir.lock().take();
        drop(heir);
    }

    /// Drops what was in the store: now, or bit by bit.
    pub(super) fn dispose(&self, cleared: Cleared<K, Kind::Content<V>>) {
        if cleared.objects() > FEW {
            keeper::tell(&self.common.core, Job::Drop(Kind::rubbish(cleared)));
        }
    }
}

impl<K: Send + 'static, C: Content + Send> Rubbish for Cleared<K, C> {
    fn drop_some(&mut self) -> bool {
        Cleared::drop_some(self, FEW)
    }
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Belonging for Inner<K, V, Kind> {
    fn bereave(self: Arc<Self>, owner: Pid) {
        self.inherit(owner);
    }
}

/// A table of whatever types.
pub(super) trait AnyTable: Send + Sync {
    fn common(&self) -> &Common;
    fn info(&self) -> TableInfo;
    /// Begins to look through it for what has expired.
    fn sweeper(self: Arc<Self>) -> Box<dyn Sweeper>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> AnyTable for Inner<K, V, Kind> {
    fn common(&self) -> &Common {
        &self.common
    }

    fn info(&self) -> TableInfo {
        self.describe()
    }

    fn sweeper(self: Arc<Self>) -> Box<dyn Sweeper> {
        self.common.plan.begin();
        Box::new(Sweep {
            table: self,
            at: None,
            soonest: NEVER,
        })
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// A look through a table, as far as it has come.
struct Sweep<K, V, Kind: TableKind> {
    table: Arc<Inner<K, V, Kind>>,
    at: Option<Kind::Cursor<K>>,
    soonest: u64,
}

impl<K: 'static, V: 'static, Kind: Keeps<K, V>> Sweeper for Sweep<K, V, Kind> {
    fn step(&mut self) -> bool {
        let mut swept = Swept::default();
        let Inner { common, store, .. } = &*self.table;
        let next = store.sweep(&common.pass(Need::Keep), self.at.as_ref(), 1, &mut swept);
        self.soonest = self.soonest.min(swept.soonest);
        while let Some(removed) = swept.removed.pop() {
            // For a `Drop` that panics nobody is to blame here.
            let _panic = exit::drop_quietly(removed);
        }
        // A table that is gone needs no more.
        self.at = next.ok().flatten();
        self.at.is_some()
    }

    fn soonest(&self) -> Option<u64> {
        Some(self.soonest).filter(|soonest| *soonest != NEVER)
    }
}
