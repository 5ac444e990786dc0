// Package roles decides what each database role may do, and gives it that.
//
// There are three, beside the owner of the schema, who migrates: the writer is the running processor, the editor changes
// documents and books corrections, the reader reads. They are groups without a login; an operator makes
// logins and puts them in. Every table, view and function of schema keel has a decision in grants.go: a new one without is
// an error of Grant, so that no migration can forget it.
//
// The package makes no logins and no passwords, and knows nothing of what tables are for.
package roles
