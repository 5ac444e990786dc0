package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Webhook is where alerts go. Requests are signed as standardwebhooks.com says, so that receivers need nothing of ours:
// webhook-id, webhook-timestamp and webhook-signature, which is HMAC-SHA256 over "id.timestamp.body".
type Webhook struct {
	URL    string
	Secret []byte
}

const (
	deliverTime = 10 * time.Second
	// A try that is under way must not be made a second time meanwhile.
	firstRetry = "30 seconds"
	lastRetry  = "1 hour"
	triedFor   = "3 days"
)

// ReadWebhook checks an address, and reads the secret from a file: "whsec_" and base64, or 16 bytes and more as they are.
func ReadWebhook(address, secretFile string) (Webhook, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return Webhook{}, fmt.Errorf("alert webhook %q is no http or https address", address)
	}
	if host, err := netip.ParseAddr(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (err != nil || !host.IsLoopback()) {
		return Webhook{}, fmt.Errorf("alert webhook %q: over http anybody on the way reads what is spent; use https", address)
	}
	if secretFile == "" {
		return Webhook{}, errors.New("an alert webhook needs --alert-secret FILE, so that it can tell our requests from others")
	}
	text, err := os.ReadFile(secretFile)
	if err != nil {
		return Webhook{}, fmt.Errorf("alert secret: %w", err)
	}
	secret := bytes.TrimSpace(text)
	if encoded, ok := bytes.CutPrefix(secret, []byte("whsec_")); ok {
		if secret, err = base64.StdEncoding.DecodeString(string(encoded)); err != nil {
			return Webhook{}, fmt.Errorf("alert secret: %s: what follows whsec_ is not base64", secretFile)
		}
	}
	if len(secret) < 16 {
		return Webhook{}, fmt.Errorf("alert secret: %s has %d bytes; 16 or more are needed", secretFile, len(secret))
	}
	return Webhook{address, secret}, nil
}

// sign is the value of webhook-signature.
func (h *Webhook) sign(id string, at int64, body []byte) string {
	mac := hmac.New(sha256.New, h.Secret)
	fmt.Fprintf(mac, "%s.%d.", id, at)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// delivery is an alert on its way.
type delivery struct {
	org, key string
	id       uuid.UUID
	attempt  int
	body     []byte
}

// message is what a webhook gets. The names are a contract.
type message struct {
	Type      string          `json:"type"` // keel.alert.tier
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

type messageData struct {
	ID    uuid.UUID       `json:"id"`
	Org   string          `json:"org"`
	Kind  Kind            `json:"kind"`
	Text  string          `json:"text"`
	Facts json.RawMessage `json:"facts"`
}

func newClient() *http.Client {
	return &http.Client{Timeout: deliverTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// deliverAll delivers what is due.
func (w *Watcher) deliverAll(ctx context.Context) {
	for ctx.Err() == nil {
		d, err := w.claim(ctx)
		if err != nil {
			if ctx.Err() == nil {
				w.o.Logger.Warn("alerts: not delivered, will try again", "error", err)
			}
			return
		}
		if d == nil {
			return
		}
		if err := w.deliver(ctx, d); err != nil {
			w.sent.WithLabelValues("failed").Inc()
			w.o.Logger.Warn("alerts: the webhook did not take one, will try again", "id", d.id, "attempt", d.attempt, "error", err)
			_, _ = w.pool.Exec(ctx, "update keel.alerts set last_error = $3 where org = $1 and key = $2", d.org, d.key, err.Error())
			continue
		}
		w.sent.WithLabelValues("delivered").Inc()
		// Where this is lost, the webhook hears of it again, by the same id.
		if _, err := w.pool.Exec(ctx, "update keel.alerts set delivered_at = now(), last_error = null where org = $1 and key = $2", d.org, d.key); err != nil && ctx.Err() == nil {
			w.o.Logger.Warn("alerts: a delivery could not be noted, and will be made again", "id", d.id, "error", err)
			return
		}
	}
}

// claim takes the next alert that is due, and moves its next try on: no lock is held while the webhook is asked, and no
// other processor tries meanwhile.
func (w *Watcher) claim(ctx context.Context) (*delivery, error) {
	d := &delivery{}
	var m message
	var data messageData
	var waiting int64
	err := w.pool.QueryRow(ctx, `
with due as (
  select org, key from keel.alerts where delivered_at is null and next_at <= now() and raised_at > now() - interval '`+triedFor+`'
  order by next_at limit 1 for update skip locked)
update keel.alerts a set attempts = attempts + 1, next_at = now() + least(interval '`+firstRetry+`' * 2 ^ least(attempts, 10), interval '`+lastRetry+`')
from due where a.org = due.org and a.key = due.key
returning a.org, a.key, a.alert_id, a.attempts, a.kind, a.text, a.facts, a.raised_at`).
		Scan(&d.org, &d.key, &d.id, &d.attempt, &data.Kind, &data.Text, &data.Facts, &m.Timestamp)
	if count := w.pool.QueryRow(ctx, "select count(*) from keel.alerts where delivered_at is null and raised_at > now() - interval '"+triedFor+"'").Scan(&waiting); count == nil {
		w.waiting.Set(float64(waiting))
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data.ID, data.Org = d.id, d.org
	m.Type, m.Timestamp = "keel.alert."+string(data.Kind), m.Timestamp.UTC()
	if m.Data, err = json.Marshal(data); err != nil {
		return nil, err
	}
	d.body, err = json.Marshal(m)
	return d, err
}

func (w *Watcher) deliver(ctx context.Context, d *delivery) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.o.Webhook.URL, bytes.NewReader(d.body))
	if err != nil {
		return err
	}
	at := time.Now().Unix()
	r.Header.Set("content-type", "application/json")
	r.Header.Set("user-agent", "keel")
	r.Header.Set("webhook-id", d.id.String())
	r.Header.Set("webhook-timestamp", strconv.FormatInt(at, 10))
	r.Header.Set("webhook-signature", w.o.Webhook.sign(d.id.String(), at, d.body))
	answer, err := w.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 200))
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("status %d: %s", answer.StatusCode, strings.ToValidUTF8(strings.TrimSpace(string(said)), "?"))
	}
	return nil
}
