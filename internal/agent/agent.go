package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"

	"github.com/ctwarden/ctwarden/notify"
	"github.com/ctwarden/ctwarden/remediate"
	"github.com/ctwarden/ctwarden/remediate/apply"
	"github.com/ctwarden/ctwarden/remediate/conntrack"
	"github.com/ctwarden/ctwarden/watcher"
)

// batchRoom is the capacity of the channel of batches, filesRoom of the one for text files: sources wait when theirs is
// full. What is behind in a text file waits there best, and not in memory.
const (
	batchRoom = 64
	filesRoom = 4
)

// Agent watches one host. All fields below calls belong to the loop.
type Agent struct {
	cfg      Config
	identity notify.Identity
	kernel   string
	bootID   string

	disk      *disk
	outbox    *outbox
	holds     *holdReader
	fleet     fleet
	pager     *pager        // nil: this host tells nobody itself
	sharing   chan struct{} // room for one: the host's state is to be sent at once; never closed
	table     *conntrack.Table
	applier   *apply.Applier
	recorder  *recorder
	sink      *notify.JournalSink
	publisher *notify.Publisher // nil: no NATS servers are configured
	manager   *manager

	left    atomic.Bool        // the loop did not end in time: what it uses must stay open
	started atomic.Bool        // Run was called: the loop owns what follows
	batches chan watcher.Batch // kmsg and the journal to the loop; never closed
	files   chan watcher.Batch // text files to the loop, which may make them wait; never closed
	calls   chan func()        // unbuffered: whoever calls waits for the loop; never closed
	ended   chan struct{}      // closed by Run when the loop has ended
	readyCh chan struct{}      // closed by the loop when every source is positioned

	ownMode    remediate.Mode // as configured; that of cfg.Policy is the one in force
	tracker    *remediate.Tracker
	spaces     map[uint64]*space
	streams    map[string]*stream
	audit      auditor
	throttle   *watcher.Throttle // of all text files together
	filesAfter time.Time         // nothing of a text file is taken before
	retry      time.Duration     // the first wait after a reader's defect; 0: retrySource
	patience   time.Duration     // of a stop, in the place of feedersWithin and stopWithin; 0: those
	positions  map[string][]byte // as saved by the run before
	meta       map[string][]byte // likewise: small values of the agent's own
	saved      remediate.TrackerState
	steps      []remediate.Step // the journal of steps, the oldest first
	notes      map[string]string
	following  map[string]bool  // reverts whose intents stay until the sysctl.d file has followed
	chains     remediate.Chains // by the kernel's release alone
	startedAt  time.Time
	bootTime   time.Time
	recovered  []string // what the start had to mend
	ready      bool
	booted     bootStep

	// What is to be saved; savedBooked is Tracker.Booked as of the last save.
	events      []remediate.Event
	unkept      []remediate.Step
	paging      []byte // what people are told, see pager
	savedBooked uint64
	savedAt     time.Time

	cover        cover
	tickedAt     time.Time
	discoveredAt time.Time
	glancedAt    time.Time     // when it was last asked whether there are new ones
	news         bool          // there are, and they have not been looked for
	mounts       chan struct{} // of capacity one: mounts came or went
	mounted      bool          // they did, and it has not been asked since
	lookWanted   time.Time     // since when a look is put off; zero: none is
	discoverCost time.Duration // of the last look for namespaces
	// discoverSpent is what looks took beyond their share of the time.
	discoverSpent time.Duration
	writableAt    time.Time // when it was last asked whether the limit may be written
	discovered    bool      // the first such look succeeded: what is found from now on is new
	unloaded      bool      // the table was not there at some time: the kernel starts it with its default limit
	byHand        bool      // Once: nothing is done but what was asked
	told          string    // the state last told to systemd, at toldAt
	toldAt        time.Time
	stepAfter     time.Time // no step is tried before, after one that failed
	stepFails     int       // failures in a row
	writers       writerFinder
	talkers       talkerFinder
	keepHoldAt    time.Time     // a hold in memory was last looked for
	decayAfter    time.Time     // no step back down is looked for before
	savedQuiet    time.Duration // Tracker.Quiet as of the last save
	hash          hash

	memory   remediate.Memory
	memoryAt time.Time

	stepSeq        int
	incidentsTotal uint64
	stepTotals     []StepTotal
}

// Open prepares an agent: state, kernel table, what an earlier run left unfinished. It starts nothing. The caller
// closes it. Where ctx is done while the disk of state_dir is waited for, its error is returned.
func Open(ctx context.Context, cfg Config) (*Agent, error) {
	if err := errors.Join(checkPrivate("state_dir", cfg.StateDir), checkPrivate("runtime_dir", cfg.RuntimeDir)); err != nil {
		return nil, err
	}
	if err := openRuntimeDir(cfg.RuntimeDir, cfg.ControlGroup != ""); err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: cfg, identity: notify.Identity{Host: cfg.Host, Site: cfg.Site, Version: cfg.Version},
		batches: make(chan watcher.Batch, batchRoom), files: make(chan watcher.Batch, filesRoom), calls: make(chan func()), ended: make(chan struct{}),
		readyCh: make(chan struct{}), spaces: map[uint64]*space{}, streams: map[string]*stream{},
		notes: map[string]string{}, following: map[string]bool{}, startedAt: time.Now(), holds: newHoldReader(cfg.holdPlaces()),
		fleet: fleet{reader: newHoldReader(cfg.fleetHoldPlaces())}, sharing: make(chan struct{}, 1), ownMode: cfg.Policy.Mode,
		audit:    auditor{patience: cmp.Or(cfg.Sources.LateAfter, lateAfter)},
		throttle: watcher.NewThrottle(filesShare),
		writers:  writerFinder{root: cfg.Root, within: writerWithin},
		mounts:   make(chan struct{}, 1),
		manager:  newManager(cfg.Log),
	}
	var err error
	if a.bootID, err = watcher.BootID(); err != nil {
		return nil, err
	}
	if a.bootTime, err = bootTime(a.startedAt); err != nil {
		return nil, err
	}
	a.kernel = kernelRelease(cfg.Root)
	a.chains = remediate.KernelChains(a.kernel)
	if a.table, err = conntrack.Open(cfg.Root, time.Now); err != nil {
		return nil, err
	}
	a.talkers = newTalkerFinder(cfg.Root, a.table)
	a.spaces[a.table.Own().Inode] = &space{ns: a.table.Own()} // watched whether or not any other is found
	if err = a.openState(ctx); err != nil {
		return nil, errors.Join(err, a.table.Close())
	}
	a.restoreFleet()
	if err = a.openPager(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	if err = a.openApplier(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Agent) trackerConfig() remediate.TrackerConfig {
	cfg := remediate.TrackerConfig{
		Host: a.cfg.Host, BootID: a.bootID, Start: a.startedAt, Pressure: a.cfg.Policy.Pressure,
		CloseAfter: a.cfg.CloseAfter, UpdateEvery: a.cfg.UpdateEvery, Horizon: a.cfg.Policy.Horizon,
		MaxInsertRate: a.cfg.Policy.MaxInsertRate, Decay: a.cfg.Policy.Decay,
	}
	if a.cfg.Policy.Mode == remediate.ModeRemediate { // else there are no steps that could pause
		cfg.ForeignPause = a.cfg.Policy.ForeignPause
	}
	return cfg
}

// openApplier finishes or undoes what an earlier run left between intent and outcome.
func (a *Agent) openApplier() error {
	var err error
	a.applier, err = apply.New(apply.Config{
		Root: a.cfg.Root, RuntimeDir: a.cfg.RuntimeDir, PersistFile: a.cfg.PersistFile, ModuleFile: a.cfg.ModuleFile,
		Host: a.cfg.Host, MachineID: MachineID(a.cfg.Root), BootID: a.bootID, Version: a.cfg.Version,
		Fail: a.cfg.Fail, Resized: a.tookResize,
	})
	if err != nil {
		return err
	}
	a.restoreHash()
	if !a.applier.BootApplied() {
		a.saved.Limit = nil // the limit may be what the boot set: that is nobody's change
	}
	a.tracker = remediate.NewTracker(a.trackerConfig(), a.saved)
	a.savedQuiet = a.tracker.Quiet()
	recovered, err := a.applier.Recover()
	a.noteIf(noteRecover, err)
	for _, r := range recovered {
		a.takeRecovery(r)
	}
	a.bookPersisted()
	return nil
}

// Close releases what Open took. Where Run has left the loop behind it releases nothing: the loop is using it still, and
// both end with the process.
func (a *Agent) Close() error {
	if a.left.Load() {
		return nil
	}
	errs := []error{a.table.Close(), a.disk.close()}
	if a.applier != nil {
		errs = append(errs, a.applier.Close())
	}
	return errors.Join(errs...)
}

// Run watches until ctx is done. It returns nil after a clean stop, with everything saved. It returns four seconds after
// ctx is done at the latest; then the error names what did not stop in time and was left behind, to end with the process.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	feeding, free := doneAfter(ctx, cmp.Or(a.patience, feedersWithin))
	defer free()
	stopping, free := doneAfter(ctx, cmp.Or(a.patience, stopWithin))
	defer free()

	defer a.manage()()
	a.started.Store(true)
	a.sample()
	a.awaitWriters(time.Now())
	a.queue(a.tracker.Event(time.Now(), remediate.EventAgentStarted, a.agentState()))
	a.save(true)

	// The recorder outlives the loop, and the publisher outlives the recorder, so that what is said last is saved and
	// sent.
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRecording()
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	var logging, recorders, senders, pages errgroup.Group
	pages.Go(func() error { return a.pager.run(ctx) })
	logging.Go(func() error { return a.sink.Run(recording) })
	recorders.Go(func() error { return a.recorder.Run(recording) })
	if a.publisher != nil {
		senders.Go(func() error { return a.publisher.Run(sending) })
	}
	err := leave(feeding, "the readers and sockets", func() error { return a.runLoop(ctx) })
	stop() // where they ended by themselves
	select {
	case <-a.ended:
	case <-stopping.Done(): // what it owns may not be touched, but what it has handed over is the recorder's
		a.left.Store(true)
		stopRecording()
		return errors.Join(err, fmt.Errorf("the loop: %w", errLeftBehind), leave(stopping, "saving to state_dir", recorders.Wait))
	}
	err = errors.Join(err, leave(stopping, "the senders of pages", pages.Wait)) // what they say last is saved
	for _, st := range a.streams {
		a.sayLost(time.Now(), st, true)
	}
	a.awaitWriters(time.Now())
	a.queue(a.tracker.Event(time.Now(), remediate.EventAgentStopped, a.agentState()))
	a.save(true)
	stopRecording()
	err = errors.Join(err, leave(stopping, "saving to state_dir", recorders.Wait))
	stopSending()
	err = errors.Join(err, leave(stopping, "sending to NATS", senders.Wait))
	err = errors.Join(err, leave(stopping, "saving what was acknowledged last", func() error {
		a.recorder.commit(sending) // a disk that hangs is not waited for
		return nil
	}))
	return errors.Join(err, leave(stopping, "the journal", logging.Wait))
}

// runLoop runs the loop and all that feeds it, until ctx is done or one of them fails.
func (a *Agent) runLoop(ctx context.Context) error {
	sources, err := a.openSources()
	if err != nil {
		close(a.ended)
		return err
	}
	serving, err := a.listen()
	if err != nil {
		close(a.ended)
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	serving.run(ctx, g)
	for _, run := range sources {
		g.Go(func() error { return run(ctx) })
	}
	if a.publisher != nil {
		g.Go(func() error { return a.shareState(ctx) })
	}
	if a.cfg.Root == "/" {
		g.Go(func() error { return a.watchMounts(ctx) })
	}
	g.Go(func() error {
		defer func() {
			close(a.ended)
			a.manager.tell(daemon.SdNotifyStopping)
		}()
		return a.loop(ctx)
	})
	// What the sources sent last and nobody took is read again at the next start, since its position was not saved.
	return g.Wait()
}

func (a *Agent) agentState() remediate.AgentState {
	s := remediate.AgentState{
		Version: a.cfg.Version, Kernel: a.kernel, BootID: a.bootID, Mode: a.cfg.Policy.Mode,
	}
	for _, e := range a.expectedSources() {
		if n := len(s.Sources); n == 0 || s.Sources[n-1] != e.source {
			s.Sources = append(s.Sources, e.source)
		}
	}
	s.Notes = append(s.Notes, a.recovered...)
	for _, about := range slices.Sorted(maps.Keys(a.notes)) {
		s.Notes = append(s.Notes, a.notes[about])
	}
	return s
}
