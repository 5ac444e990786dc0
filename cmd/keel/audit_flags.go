package main

import (
	"log/slog"
	"path/filepath"
	"time"

	"keel/budget/audit"
)

// auditFlags are how a processor keeps the audit log.
type auditFlags struct {
	AuditKey         string        `help:"File of the key that signs the audit log: see \"keel audit keys new\"." placeholder:"FILE"`
	AuditAnchor      []string      `help:"Where checkpoints are put besides the database: a folder, or file:NAME. May be given more than once." sep:"none" placeholder:"DIR"`
	AuditAnchorEvery time.Duration `help:"How often." default:"10s"`
	AuditKeep        time.Duration `name:"audit-keep-checkpoints" help:"How long the database keeps every checkpoint. After that it keeps the last one of each day, and those that are anchored. Negative: all of them." default:"720h"`
}

// devOrigin names the log of a development stack.
const devOrigin = "keel.localhost/audit"

// auditIn fills what is not given with files of a folder. The key is made where there is none.
func (f auditFlags) auditIn(dir string) (*auditFlags, error) {
	if f.AuditKey == "" {
		f.AuditKey = filepath.Join(dir, "audit.key")
		if _, err := audit.KeyFrom(f.AuditKey, devOrigin); err != nil {
			return nil, err
		}
	}
	if len(f.AuditAnchor) == 0 {
		f.AuditAnchor = []string{filepath.Join(dir, "audit-anchor")}
	}
	return &f, nil
}

func (f *auditFlags) sequencer(dsn string, log *slog.Logger) (*audit.Sequencer, error) {
	o := audit.SequencerOptions{Database: dsn, Logger: log, AnchorEvery: f.AuditAnchorEvery, KeepCheckpoints: f.AuditKeep}
	var err error
	if o.Anchors, err = openAnchors("--audit-anchor", f.AuditAnchor); err != nil {
		return nil, err
	}
	if f.AuditKey != "" {
		if o.Key, err = audit.ReadPrivateKey(f.AuditKey); err != nil {
			return nil, err
		}
	} else {
		log.Warn("audit log: it grows, and nothing is signed, because there is no --audit-key")
	}
	return audit.NewSequencer(o), nil
}
