"""What can be broken in the lab on purpose, and when it strikes.

model.py     the kinds of faults and their options, as data
board.py     the faults that are set now: kept in ``faults.json``, counted when they strike
effects.py   what happens at once when a fault is set or cleared (archives, nodes), and what a fault must name
calls.py     faults of the API itself: errors, delays, dropped connections, garbage
waiting.py   tasks that hang, the vzdump lock that another holds
storing.py   full and slow storages, short listings
sickness.py  guests that panic, whose service is down, whose data disk is gone
dying.py     guests that go off, or are reset, after they came up
endpoint.py  GET, POST and DELETE /lab/faults
client.py    how the command line reaches that endpoint

All are off by default. See docs/faults.md.
"""
