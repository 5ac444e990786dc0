# Runs focus-validator over a file and prints which rules failed.
import json, os, sys
import focus_validator
from focus_validator.rules import checks
from focus_validator.validator import Validator

# It downloads the list of currencies at every run; these are those of the test.
checks.get_currency_codes = lambda: ["USD", "EUR"]

rules = os.path.join(os.path.dirname(focus_validator.__file__), "rules", "version_sets")
v = Validator(data_filename=sys.argv[1], override_filename=None, rule_set_path=rules, rules_version="1.0",
    output_type="console", output_destination=None, column_namespace=None)
v.load()
for column in v.focus_data.columns:  # a column of whole numbers is read as integers, and then said not to be decimal
    if v.focus_data[column].dtype == "int64":
        v.focus_data[column] = v.focus_data[column].astype(float)
results = v.spec_rules.validate(focus_data=v.focus_data)
failed = sorted(name for name, check in results.checklist.items() if "FAIL" in str(check.status).upper() or "ERROR" in str(check.status).upper())
print(json.dumps({"rules": len(results.checklist), "failed": failed}))
