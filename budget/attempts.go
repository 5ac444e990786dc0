package budget

// AddAttempts makes c, which tells of the last attempt, the end of all of them: their
// costs and usages are summed. rows are in the order of their numbers. answered says that the
// client got what a provider answered to attempt number last; else no answer
// of a provider is behind c, and only what the rows say was done.
func (d *Decision) AddAttempts(c *Closeout, cfg *Config, rows []Attempt, last int, answered bool) {
	if len(rows) == 0 {
		return
	}
	c.AttemptRows = rows
	if !answered {
		d.Free(c)
		c.RawUsage, last = nil, 0
	}
	for i := range rows {
		a := &rows[i]
		if a.Ended == AttemptRefused {
			c.Attempts--
		}
		if a.Number == last {
			a.Cost, a.Basis, a.Usage = c.Cost.Total, basisOf(c), c.Usage
			if !c.CostKnown { // the ledger settles the hold
				a.Cost = max(a.Bound, a.Cost)
			}
		}
	}
	for i := range rows {
		if a := &rows[i]; a.Number != last {
			d.addAttempt(c, cfg, a)
		}
		rows[i].Bill = nil // Bills have it
	}
}

func (d *Decision) addAttempt(c *Closeout, cfg *Config, a *Attempt) {
	total, err := c.Cost.Total.Add(a.Cost)
	if err != nil { // nobody can count it: the hold is charged, and no less than what could be counted
		c.CostKnown = false
		return
	}
	c.Cost.Total = total
	switch {
	case a.Unsure():
		c.Metered = ByEstimate
	case a.Usage != nil && c.Metered == NothingSeen:
		c.Metered = ByProvider
	}
	if a.Usage == nil {
		return
	}
	b := a.Bill
	if b == nil { // of a processor of before
		at := *d
		at.RoutedProvider, at.RoutedModel = a.Provider, a.Model
		b = at.bill(&Reported{Usage: a.Usage})
	}
	cost, ok := cfg.charge(d.Org, b)
	if same := ok && cost.Total == a.Cost; same || a.Bill != nil {
		b.Cost = a.Cost
		c.Bills = append(c.Bills, *b)
		if same {
			c.Cost.Lines = append(c.Cost.Lines, cost.Lines...)
		}
	}
	usage := *a.Usage
	if c.Usage != nil {
		for kind, n := range c.Usage {
			usage[kind] += n
		}
	}
	c.Usage = &usage
}

// basisOf is what the cost of the attempt is made of that c tells of.
func basisOf(c *Closeout) Basis {
	switch {
	case c.Metered == NothingSeen && c.CostKnown:
		return BasisFree
	case c.Metered == ByProvider && c.CostKnown:
		return BasisUsage
	case c.Usage != nil && c.CostKnown:
		return BasisSeen
	}
	return BasisFull
}

// ChargeEnvelope fills c for a call of which nobody knows how many attempts were
// made: it costs its envelope.
func (d *Decision) ChargeEnvelope(c *Closeout) {
	d.ChargeHeld(c)
	c.Cost.Total = max(c.Cost.Total, d.Envelope.Limit)
}
