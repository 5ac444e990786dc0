package doctor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Patient is what is to be looked at; what is empty is not.
type Patient struct {
	EnvoyAdmins []string // addresses or URLs of Envoys' admin interfaces
	Listeners   []string // URLs that applications call, to ask for a call there
	Admins      []string // addresses or URLs of processors' admin ports
	Database    string   // DSN
}

// Look looks at all of p, one after the other.
func Look(ctx context.Context, p Patient) *Report {
	r := &Report{Taken: time.Now().UTC()}
	for _, at := range p.EnvoyAdmins {
		lookAtEnvoy(ctx, r, urlOf(at))
	}
	for _, at := range p.Listeners {
		r.add(askForCall(ctx, urlOf(at)))
	}
	for _, at := range p.Admins {
		lookAtProcessor(ctx, r, urlOf(at))
	}
	if p.Database != "" {
		lookAtDatabase(ctx, r, p.Database)
	}
	return r
}

func urlOf(at string) string {
	if !strings.Contains(at, "://") {
		at = "http://" + at
	}
	return strings.TrimSuffix(at, "/")
}

// client asks for nothing but what is here: no proxy of the environment stands between an operator and a port on loopback.
var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}}

// most bounds an answer. The config dump of a large mesh has tens of megabytes.
const most = 256 << 20

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return body, err
}

func share(part, whole float64) string {
	if whole == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.3g %%", 100*part/whole)
}

// rough writes a duration as people say it.
func rough(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Minute:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Millisecond).String()
}
