package filter

import (
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// A drain goes on serving until each client that checks has heard twice that it should not; one that has left, and one that
// never checked, are not waited for.
func TestDrainIsHeard(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	dial := func() (*grpc.ClientConn, healthv1.HealthClient) {
		c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c, healthv1.NewHealthClient(c)
	}
	check := func(h healthv1.HealthClient, want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		answer, err := h.Check(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil || answer.Status != want {
			t.Fatalf("%v, %v; want %v", answer, err, want)
		}
	}
	_, stays := dial()
	gone, leaves := dial()
	check(stays, healthv1.HealthCheckResponse_SERVING)
	check(leaves, healthv1.HealthCheckResponse_SERVING)
	drained := make(chan struct{})
	go func() {
		server.Drain(nil)
		close(drained)
	}()
	for answer := healthv1.HealthCheckResponse_SERVING; answer == healthv1.HealthCheckResponse_SERVING; { // until it begins
		a, err := stays.Check(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		answer = a.Status
	}
	check(leaves, healthv1.HealthCheckResponse_NOT_SERVING)
	_, late := dial()
	check(late, healthv1.HealthCheckResponse_NOT_SERVING) // it is still open to all
	check(late, healthv1.HealthCheckResponse_NOT_SERVING)
	check(stays, healthv1.HealthCheckResponse_NOT_SERVING)
	select {
	case <-drained:
		t.Fatal("it did not wait for one that heard it once")
	case <-time.After(200 * time.Millisecond):
	}
	gone.Close()
	select {
	case <-drained:
	case <-time.After(heardLate - time.Second):
		t.Error("it waits for one that left")
	}
}
