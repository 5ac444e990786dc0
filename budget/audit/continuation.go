package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"

	"keel/budget/audit/log"
)

// A continuation says that one log ended and another one goes on in its place: because its key was lost, or because
// the database lost leaves that were signed. It is a note that the new key signs, and the old one where it is still there:
//
//	keel audit continuation
//	old key …            public key
//	kept …               the last checkpoint that holds, of it or of a log before it, a signed note in base64; "none" where none does
//	newest …             the newest one that was seen, in base64; the log lost what is between the two
//	new key …            public key, of another log
//	by …
//	why …
//	at …
//
// The new log begins with the leaves that are there, so the checkpoints of the old one, up to that which was kept, hold
// for it as well; its name is another one, so no checkpoint of one is taken for one of the other.

const continuationHead = "keel audit continuation\n"

// Continuation is a break of the log that was declared.
type Continuation struct {
	OldLog  string    `json:"old_log"`
	NewLog  string    `json:"new_log"`
	Kept    int64     `json:"kept"`   // leaves of the old log that its last good checkpoint covers
	Signed  int64     `json:"signed"` // leaves that its newest checkpoint covers
	By      string    `json:"by"`
	Why     string    `json:"why"`
	At      time.Time `json:"at"`
	OldKey  string    `json:"old_key"`
	NewKey  string    `json:"new_key"`
	Leaf    int64     `json:"leaf"` // place of the statement in the log, -1 while it is not there
	CoSign  bool      `json:"signed_by_both"`
	Trusted bool      `json:"trusted"`  // a key that the verifier trusts has signed it
	OK      bool      `json:"accepted"` // by the verifier

	kept, newest string // notes; "" for none
}

// Lost is how many leaves the old log had signed and can't show any more.
func (c *Continuation) Lost() int64 { return c.Signed - c.Kept }

// String is the break in one sentence.
func (c *Continuation) String() string {
	lost := "no leaf that was signed is lost"
	if n := c.Lost(); n > 0 {
		lost = fmt.Sprintf("%d leaves that it had signed are lost, %d to %d", n, c.Kept, c.Signed-1)
	}
	signers := "signed by the new key alone"
	if c.CoSign {
		signers = "signed by both keys"
	}
	return fmt.Sprintf("log %s ended at %d leaves and goes on as %s: %s; declared by %s at %s, %s: %s",
		c.OldLog, c.Kept, c.NewLog, lost, c.By, c.At.UTC().Format(time.RFC3339), signers, c.Why)
}

// text is what is signed.
func (c *Continuation) text() string {
	encoded := func(note string) string {
		if note == "" {
			return "none"
		}
		return base64.StdEncoding.EncodeToString([]byte(note))
	}
	return continuationHead + "old key " + c.OldKey + "\nkept " + encoded(c.kept) + "\nnewest " + encoded(c.newest) + "\nnew key " + c.NewKey +
		"\nby " + c.By + "\nwhy " + c.Why + "\nat " + c.At.UTC().Format(time.RFC3339) + "\n"
}

// parseContinuation reads what text wrote, and checks the signatures that a statement must have. Whether its notes are
// signed by the old key, too.
func parseContinuation(statement, vkey string) (*Continuation, error) {
	text, _, _ := strings.Cut(statement, "\n\n")
	lines := strings.Split(text, "\n")
	names := []string{"old key ", "kept ", "newest ", "new key ", "by ", "why ", "at "}
	if len(lines) != 1+len(names) || lines[0]+"\n" != continuationHead {
		return nil, errors.New("it says something else")
	}
	values := make([]string, len(names))
	for i, name := range names {
		ok := false
		if values[i], ok = strings.CutPrefix(lines[1+i], name); !ok || values[i] == "" {
			return nil, fmt.Errorf("its line %d does not begin with %q", 2+i, name)
		}
	}
	c := &Continuation{OldKey: values[0], NewKey: values[3], By: values[4], Why: values[5], Leaf: -1}
	var err error
	if c.At, err = time.Parse(time.RFC3339, values[6]); err != nil {
		return nil, fmt.Errorf("it was made at %q", values[6])
	}
	old, err := note.NewVerifier(c.OldKey)
	if err != nil {
		return nil, fmt.Errorf("%q is no key", c.OldKey)
	}
	by, err := note.NewVerifier(c.NewKey)
	if err != nil || c.NewKey != vkey || by.Name() == old.Name() {
		return nil, fmt.Errorf("%q is not the key of another log", c.NewKey)
	}
	c.OldLog, c.NewLog = old.Name(), by.Name()
	if _, err := note.Open([]byte(statement), note.VerifierList(by)); err != nil {
		return nil, fmt.Errorf("it is not signed by %s: %w", c.NewKey, err)
	}
	_, err = note.Open([]byte(statement), note.VerifierList(old))
	c.CoSign = err == nil
	for i, into := range []*string{&c.kept, &c.newest} {
		if values[1+i] == "none" {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(values[1+i])
		if err != nil {
			return nil, fmt.Errorf("its %scheckpoint is not in base64", names[1+i])
		}
		*into = string(raw)
	}
	return c, c.readNotes()
}

// readNotes finds what the two checkpoints say.
func (c *Continuation) readNotes() error {
	kept, err := checkpointOf(c.kept) // of a log before it, where none of its own holds
	if err != nil {
		return err
	}
	newest, err := checkpointOf(c.newest)
	if err != nil {
		return err
	}
	if newest.Size < kept.Size {
		return errors.New("its newest checkpoint is not the newest")
	}
	c.Kept, c.Signed = kept.Size, newest.Size
	return nil
}

func checkpointOf(signed string) (c log.Checkpoint, err error) {
	if signed == "" {
		return c, nil
	}
	text, _, _ := strings.Cut(signed, "\n\n")
	return log.ParseCheckpoint(text + "\n")
}

// checkWords refuses what could be mistaken for another line of the statement.
func checkWords(what, text string) error {
	if strings.TrimSpace(text) != text || text == "" || len(text) > 1000 || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%s: one line of up to 1000 bytes, without spaces at its ends", what)
	}
	return nil
}
