package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// adminClient keeps no connections: Envoy counts them when it drains.
var adminClient = &http.Client{
	Timeout:   5 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil},
}

// ask sends a request to the admin interface; any status but 200 is an error.
func (e *Envoy) ask(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+e.admin+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := adminClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("envoy's %s says %s: %s", path, response.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// listener is where Envoy listens for applications.
func (e *Envoy) listener(ctx context.Context) (string, error) {
	body, err := e.ask(ctx, http.MethodGet, "/listeners?format=json")
	if err != nil {
		return "", err
	}
	var all struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return "", fmt.Errorf("envoy's list of listeners: %w", err)
	}
	for _, l := range all.Statuses {
		if l.Name != statPrefix || l.Address.Socket.Port == 0 {
			continue
		}
		host := l.Address.Socket.Address
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		return net.JoinHostPort(host, strconv.Itoa(l.Address.Socket.Port)), nil
	}
	return "", errors.New("envoy does not listen yet")
}

// Counter is the value of one of Envoy's counters or gauges, by its full name.
func (e *Envoy) Counter(ctx context.Context, name string) (int64, error) {
	body, err := e.ask(ctx, http.MethodGet, "/stats?format=text")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("envoy has no counter %q", name)
}

// Drain closes the listener and returns when the calls in flight have ended.
// If ctx ends before them, it says how many are left. Stop comes after it.
func (e *Envoy) Drain(ctx context.Context) error {
	if _, err := e.ask(ctx, http.MethodPost, "/drain_listeners"); err != nil {
		return err
	}
	active := int64(-1)
	for {
		n, err := e.Counter(ctx, "http."+statPrefix+".downstream_rq_active")
		if err == nil {
			active = n
		}
		if active == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if active < 0 {
				return err
			}
			return fmt.Errorf("calls that did not end in time and are cut: %d", active)
		case <-e.child.Done():
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}
