package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"keel/envoy/program"
)

// Versions of other gateways, from their registry packages.
const (
	liteLLMVersion = "1.108.1"
	portkeyVersion = "1.15.2"
)

// peers are measured when they are asked for.
var peers = []string{"litellm", "portkey"}

// installTime bounds the download of a peer and of what it needs.
const installTime = 10 * time.Minute

// install runs the steps that fill a folder below .keel, once.
func (s *stage) install(ctx context.Context, name string, steps func(dir string) [][]string) (string, error) {
	dir := filepath.Join(s.root, ".keel", "bench", name)
	done := filepath.Join(dir, "installed")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil { // an install that was interrupted
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	fmt.Fprintf(s.progress, "bench: installing %s into %s\n", name, dir)
	ctx, cancel := context.WithTimeoutCause(ctx, installTime, fmt.Errorf("%v are over", installTime))
	defer cancel()
	for _, step := range steps(dir) {
		path, err := exec.LookPath(step[0])
		if err != nil {
			return "", err
		}
		if err := program.Run(ctx, program.Command{Name: step[0], Path: path, Args: step[1:], Dir: dir, Log: filepath.Join(dir, "install.log")}); err != nil {
			return "", err
		}
	}
	return dir, os.WriteFile(done, nil, 0o644)
}

// liteLLM is LiteLLM's proxy with budgets in its memory: one for all, one for the provider.
func liteLLM(ctx context.Context, s *stage, name string) (*target, error) {
	dir, err := s.install(ctx, "litellm-"+liteLLMVersion, func(dir string) [][]string {
		venv := filepath.Join(dir, "venv")
		return [][]string{
			{"python3", "-m", "venv", venv},
			{filepath.Join(venv, "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "litellm[proxy]==" + liteLLMVersion},
		}
	})
	if err != nil {
		return nil, err
	}
	const key = "sk-bench-0123456789abcdef"
	config := filepath.Join(s.dir, name, "config.yaml")
	text := fmt.Sprintf(`model_list:
  - {model_name: %s, litellm_params: {model: openai/%s, api_base: "%s/v1", api_key: %s}}
litellm_settings: {max_budget: 100000, budget_duration: 30d}
router_settings: {provider_budget_config: {openai: {budget_limit: 100000, time_period: 30d}}}
general_settings: {master_key: %s}
`, model, model, s.provider.url(), key, key)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	port, err := program.FreePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	return s.peer(ctx, name, "/health/liveliness", port, program.Command{
		Name: "litellm", Path: filepath.Join(dir, "venv", "bin", "litellm"),
		Args: []string{"--config", config, "--host", "127.0.0.1", "--port", strconv.Itoa(port)},
		// It is not to ask anybody for its prices, and has no one to write home to.
		Env: append(withoutDatabase(os.Environ()), "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOG=ERROR"),
	}, "")
}

// withoutDatabase is an environment in which LiteLLM finds no database.
func withoutDatabase(environment []string) []string {
	return slices.DeleteFunc(environment, func(v string) bool { return strings.HasPrefix(v, "DATABASE_URL=") })
}

// portkey is Portkey's gateway, which has no budgets in this edition.
func portkey(ctx context.Context, s *stage, name string) (*target, error) {
	dir, err := s.install(ctx, "portkey-"+portkeyVersion, func(dir string) [][]string {
		return [][]string{{"npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "@portkey-ai/gateway@" + portkeyVersion}}
	})
	if err != nil {
		return nil, err
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, err
	}
	port, err := program.FreePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	return s.peer(ctx, name, "/", port, program.Command{
		Name: "portkey", Path: node,
		Args: []string{filepath.Join(dir, "node_modules", "@portkey-ai", "gateway", "build", "start-server.js"), "--port=" + strconv.Itoa(port), "--headless"},
		Env:  append(os.Environ(), "NODE_ENV=production", "TRUSTED_CUSTOM_HOSTS=127.0.0.1,localhost"),
	}, "x-portkey-provider: openai\r\nx-portkey-custom-host: "+s.provider.url()+"/v1\r\n")
}

// peer starts another gateway and waits until it answers. All of its processes are the gateway.
func (s *stage) peer(ctx context.Context, name, ready string, port int, c program.Command, head string) (*target, error) {
	c.Dir = filepath.Join(s.dir, name)
	c.Log = filepath.Join(c.Dir, "peer.log")
	child, err := program.Start(c)
	if err != nil {
		return nil, err
	}
	t := &target{address: fmt.Sprintf("127.0.0.1:%d", port), head: requestHead(head), slow: true}
	t.gateway = func() (stat, error) { return tree(child.PID()) }
	t.stop = child.Stop
	within, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err = child.WaitReady(within, func(ctx context.Context) error {
		_, err := get(ctx, "http://"+t.address+ready)
		return err
	})
	if err != nil {
		child.Kill()
		return nil, err
	}
	return t, nil
}
