package main

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestUnwritten(t *testing.T) {
	t.Parallel()
	const smaps = `00400000-01ad9000 r-xp 00000000 fe:00 11149872                           /opt/my keel
Size:              23396 kB
Rss:               21476 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
01ad9000-036f8000 r--p 016d9000 fe:00 11149872                           /opt/my keel
Rss:               22332 kB
Anonymous:             0 kB
036f8000-03700000 r--p 032f8000 fe:00 11149872                           /opt/my keel
Rss:                  32 kB
Anonymous:             4 kB
03700000-03ae6000 rw-p 03300000 fe:00 11149872                           /opt/my keel
Rss:                2488 kB
Anonymous:             0 kB
03ae6000-05b4c000 rw-p 00000000 00:00 0 
Anonymous:             0 kB
7fd3b25ce000-7fd3b2724000 r-xp 00028000 fe:00 262                        /usr/lib/libc.so.6
Anonymous:             0 kB
`
	got, err := unwrittenOf(strings.NewReader(smaps), "/opt/my keel")
	if want := []mapping{{0x400000, 0x1ad9000}, {0x1ad9000, 0x36f8000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%x, %v; not %x: what was written to would be lost", got, err, want)
	}
	if got, err := unwrittenOf(strings.NewReader("4g-5g r-xp 0 fe:00 1 /opt/keel\n"), "/opt/keel"); err == nil {
		t.Errorf("addresses that are none: %x", got)
	}
}

// The program's own pages are given back, and it goes on.
func TestReleaseBinary(t *testing.T) {
	file := regexp.MustCompile(`(?m)^RssFile:\s+(\d+) kB`)
	resident := func() int {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		kB, err := strconv.Atoi(file.FindStringSubmatch(string(status))[1])
		if err != nil {
			t.Fatal(err)
		}
		return kB
	}
	before := resident()
	if err := releaseBinary(); err != nil {
		t.Fatal(err)
	}
	if after := resident(); after > before*3/4 {
		t.Errorf("%d kB of files were resident, and then %d", before, after)
	} else {
		t.Logf("%d kB of files were resident, and then %d", before, after)
	}
}
