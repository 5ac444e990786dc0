package pgserver

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const roleVariable = "KEEL_TEST_ROLE"

// The test binary is also a process that starts a server and is then killed.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "starter" {
		os.Exit(m.Run())
	}
	s, err := Start(context.Background(), Options{Dir: os.Args[1]})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	c, err := pgx.Connect(context.Background(), s.DSN())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if _, err := c.Exec(context.Background(), "create table if not exists kept (n int); insert into kept values (1)"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.running().PID())
	time.Sleep(time.Hour)
}
