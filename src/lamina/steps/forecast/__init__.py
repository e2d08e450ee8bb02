"""What comes next in series: all five steps."""
