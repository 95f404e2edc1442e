"""The questions: (title, how smongo is asked, the same from the files in plain Python).

Python's answer uses nothing of smongo; ties are broken by the last key of every sort, so both orders are determined.
"""
import re
from collections import Counter, defaultdict


def mean(values):
    return sum(values) / len(values) if values else None


def groups(rows, key):
    found = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return sorted(found.items(), key=lambda pair: pair[0])


def pick(row, *names):
    return {n: row[n] for n in names if n in row}


# Cars.

def strongest_cars(db):
    return list(db.cars.find({}, {"_id": 0, "Name": 1, "Horsepower": 1}).sort([("Horsepower", -1), ("Name", 1)]).limit(5))


def strongest_cars_py(sets):
    rows = sorted((r for r in sets["cars"] if r["Horsepower"]), key=lambda r: (-r["Horsepower"], r["Name"]))
    return [pick(r, "Name", "Horsepower") for r in rows[:5]]


def thrifty(db):
    return db.cars.count_documents({"Origin": {"$in": ["Japan", "Europe"]}, "Miles_per_Gallon": {"$gte": 35}, "Cylinders": {"$ne": 3}})


def thrifty_py(sets):
    return sum(r["Origin"] in ("Japan", "Europe") and (r["Miles_per_Gallon"] or 0) >= 35 and r["Cylinders"] != 3 for r in sets["cars"])


def mileage(db):
    return list(db.cars.aggregate([
        {"$group": {"_id": {"origin": "$Origin", "year": {"$year": "$Year"}}, "mpg": {"$avg": "$Miles_per_Gallon"}, "cars": {"$sum": 1}}},
        {"$sort": {"_id": 1}}]))


def mileage_py(sets):
    return [{"_id": {"origin": o, "year": y}, "mpg": mean([r["Miles_per_Gallon"] for r in rows if r["Miles_per_Gallon"] is not None]), "cars": len(rows)}
            for (o, y), rows in groups(sets["cars"], lambda r: (r["Origin"], r["Year"].year))]


def words(db):
    return list(db.cars.aggregate([{"$unwind": "$words"}, {"$group": {"_id": "$words", "cars": {"$sum": 1}}}, {"$sort": {"cars": -1, "_id": 1}}, {"$limit": 10}]))


def words_py(sets):
    counted = Counter(w for r in sets["cars"] for w in r["words"])
    return [{"_id": w, "cars": n} for w, n in sorted(counted.items(), key=lambda p: (-p[1], p[0]))[:10]]


BOUNDS = [1500, 2000, 2500, 3000, 3500, 4000, 4500]


def by_weight(db):
    return list(db.cars.aggregate([{"$bucket": {"groupBy": "$Weight_in_lbs", "boundaries": BOUNDS, "default": "heavier",
                                                "output": {"cars": {"$sum": 1}, "slowest": {"$max": "$Acceleration"}}}}]))


def by_weight_py(sets):
    def bucket(r):
        return max(b for b in BOUNDS if b <= r["Weight_in_lbs"]) if r["Weight_in_lbs"] < BOUNDS[-1] else BOUNDS[-1]
    return [{"_id": "heavier" if b == BOUNDS[-1] else b, "cars": len(rows), "slowest": max(r["Acceleration"] for r in rows)}
            for b, rows in groups(sets["cars"], bucket)]


def makers(db):
    """A second collection from the first one, then joined to it."""
    db.makers.drop()
    db.makers.insert_many(db.cars.aggregate([{"$sort": {"_id": 1}}, {"$group": {"_id": {"$first": "$words"}, "origin": {"$first": "$Origin"}}}]))
    return list(db.makers.aggregate([
        {"$lookup": {"from": "cars", "let": {"maker": "$_id"}, "pipeline": [
            {"$match": {"$expr": {"$eq": [{"$first": "$words"}, "$$maker"]}, "Cylinders": 4}}, {"$project": {"_id": 0, "Name": 1, "Weight_in_lbs": 1}}], "as": "fours"}},
        {"$match": {"fours.0": {"$exists": True}}},
        {"$project": {"origin": 1, "fours": {"$size": "$fours"}, "lightest": {"$min": "$fours.Weight_in_lbs"}}},
        {"$sort": {"fours": -1, "_id": 1}}, {"$limit": 8}]))


def makers_py(sets):
    answer = []
    for maker, rows in groups(sets["cars"], lambda r: r["words"][0]):
        fours = [r for r in rows if r["Cylinders"] == 4]
        if fours:
            answer.append({"_id": maker, "origin": rows[0]["Origin"], "fours": len(fours), "lightest": min(r["Weight_in_lbs"] for r in fours)})
    return sorted(answer, key=lambda a: (-a["fours"], a["_id"]))[:8]


def unknown_power(db):
    return sorted(db.cars.distinct("Name", {"Horsepower": None}))


def unknown_power_py(sets):
    return sorted({r["Name"] for r in sets["cars"] if r["Horsepower"] is None})


# Airports.

def per_state(db):
    return list(db.airports.aggregate([{"$group": {"_id": "$state", "airports": {"$sum": 1}}}, {"$sort": {"airports": -1, "_id": 1}}, {"$limit": 10}]))


def per_state_py(sets):
    counted = Counter(r["state"] for r in sets["airports"])
    return [{"_id": s, "airports": n} for s, n in sorted(counted.items(), key=lambda p: (-p[1], p[0]))[:10]]


def northernmost(db):
    return list(db.airports.find({"state": "AK", "latitude": {"$gt": 68}}, {"_id": 0, "name": 1, "city": 1, "latitude": 1}).sort([("latitude", -1), ("name", 1)]))


def northernmost_py(sets):
    rows = [r for r in sets["airports"] if r["state"] == "AK" and r["latitude"] > 68]
    return [pick(r, "name", "city", "latitude") for r in sorted(rows, key=lambda r: (-r["latitude"], r["name"]))]


def international(db):
    return [r["iata"] for r in db.airports.find({"name": {"$regex": "\\bintl?\\b|international", "$options": "i"}, "state": {"$in": ["CA", "TX", "NY"]}}).sort("iata", 1)]


def international_py(sets):
    return sorted(r["iata"] for r in sets["airports"] if r["state"] in ("CA", "TX", "NY") and re.search(r"\bintl?\b|international", r["name"], re.I))


def namesakes(db):
    return list(db.airports.aggregate([
        {"$group": {"_id": "$city", "states": {"$addToSet": "$state"}}},
        {"$project": {"states": {"$sortArray": {"input": "$states", "sortBy": 1}}, "in": {"$size": "$states"}}},
        {"$sort": {"in": -1, "_id": 1}}, {"$limit": 4}]))


def namesakes_py(sets):
    rows = [{"_id": c, "states": sorted({r["state"] for r in rows}), "in": len({r["state"] for r in rows})} for c, rows in groups(sets["airports"], lambda r: r["city"])]
    return sorted(rows, key=lambda r: (-r["in"], r["_id"]))[:4]


# Weather.

def rain(db):
    return list(db.weather.aggregate([
        {"$group": {"_id": {"$year": "$date"}, "rain": {"$sum": "$precipitation"}, "wet": {"$sum": {"$cond": [{"$gt": ["$precipitation", 0]}, 1, 0]}}, "hottest": {"$max": "$temp_max"}}},
        {"$sort": {"_id": 1}}]))


def rain_py(sets):
    return [{"_id": y, "rain": sum(r["precipitation"] for r in rows), "wet": sum(r["precipitation"] > 0 for r in rows), "hottest": max(r["temp_max"] for r in rows)}
            for y, rows in groups(sets["weather"], lambda r: r["date"].year)]


def snow(db):
    pipeline = [{"$match": {"weather": "snow"}},
                {"$facet": {"months": [{"$sortByCount": {"$dateToString": {"date": "$date", "format": "%m"}}}, {"$sort": {"_id": 1}}],
                            "coldest": [{"$sort": {"temp_min": 1, "date": 1}}, {"$limit": 2}, {"$project": {"_id": 0, "date": 1, "temp_min": 1}}]}}]
    return list(db.weather.aggregate(pipeline))


def snow_py(sets):
    rows = [r for r in sets["weather"] if r["weather"] == "snow"]
    months = [{"_id": m, "count": len(x)} for m, x in groups(rows, lambda r: r["date"].strftime("%m"))]
    return [{"months": months, "coldest": [pick(r, "date", "temp_min") for r in sorted(rows, key=lambda r: (r["temp_min"], r["date"]))[:2]]}]


# Stocks, barley, electricity, riots.

def growth(db):
    return list(db.stocks.aggregate([
        {"$sort": {"symbol": 1, "date": 1}},
        {"$group": {"_id": "$symbol", "first": {"$first": "$price"}, "last": {"$last": "$price"}, "top": {"$max": "$price"}}},
        {"$set": {"times": {"$divide": ["$last", "$first"]}}}, {"$sort": {"times": -1}}]))


def growth_py(sets):
    answer = []
    for symbol, rows in groups(sets["stocks"], lambda r: r["symbol"]):
        prices = [r["price"] for r in sorted(rows, key=lambda r: r["date"])]
        answer.append({"_id": symbol, "first": prices[0], "last": prices[-1], "top": max(prices), "times": prices[-1] / prices[0]})
    return sorted(answer, key=lambda a: -a["times"])


def barley(db):
    return list(db.barley.aggregate([
        {"$sort": {"yield": -1, "variety": 1}},
        {"$group": {"_id": "$site", "best": {"$first": "$variety"}, "yield": {"$first": "$yield"}, "years": {"$addToSet": "$year"}}},
        {"$set": {"years": {"$size": "$years"}}}, {"$sort": {"yield": -1}}]))


def barley_py(sets):
    answer = []
    for site, rows in groups(sets["barley"], lambda r: r["site"]):
        best = min(rows, key=lambda r: (-r["yield"], r["variety"]))
        answer.append({"_id": site, "best": best["variety"], "yield": best["yield"], "years": len({r["year"] for r in rows})})
    return sorted(answer, key=lambda a: -a["yield"])


def renewables(db):
    share = {"$round": [{"$multiply": [100, {"$divide": ["$green", "$all"]}]}, 1]}
    return list(db.electricity.aggregate([
        {"$group": {"_id": {"$substrCP": ["$year", 0, 4]}, "all": {"$sum": "$net_generation"},
                    "green": {"$sum": {"$cond": [{"$eq": ["$source", "Renewables"]}, "$net_generation", 0]}}}},
        {"$project": {"percent": share}}, {"$sort": {"_id": -1}}, {"$limit": 3}]))


def renewables_py(sets):
    answer = []
    for year, rows in groups(sets["electricity"], lambda r: r["year"][:4]):
        green = sum(r["net_generation"] for r in rows if r["source"] == "Renewables")
        answer.append({"_id": year, "percent": round(100 * (green / sum(r["net_generation"] for r in rows)), 1)})
    return answer[::-1][:3]


def riots(db):
    return list(db.riots.aggregate([
        {"$group": {"_id": "$type", "people": {"$sum": 1}, "age": {"$avg": "$age"}, "unnamed places": {"$sum": {"$cond": [{"$eq": [{"$type": "$neighborhood"}, "missing"]}, 1, 0]}}}},
        {"$sort": {"people": -1, "_id": 1}}]))


def riots_py(sets):
    answer = [{"_id": t, "people": len(rows), "age": mean([r["age"] for r in rows if "age" in r]), "unnamed places": sum("neighborhood" not in r for r in rows)}
              for t, rows in groups(sets["riots"], lambda r: r["type"])]
    return sorted(answer, key=lambda a: (-a["people"], a["_id"]))


QUESTIONS = [
    ("The strongest cars", strongest_cars, strongest_cars_py),
    ("How many cars from Japan or Europe go 35 miles or more per gallon, without the three-cylinders?", thrifty, thrifty_py),
    ("Average mileage by origin and year", mileage, mileage_py),
    ("The commonest words in the names of cars", words, words_py),
    ("Cars by weight", by_weight, by_weight_py),
    ("Makers with most four-cylinder cars (a second collection and $lookup)", makers, makers_py),
    ("Cars whose power nobody wrote down", unknown_power, unknown_power_py),
    ("Airports per state", per_state, per_state_py),
    ("Airports of Alaska beyond 68 degrees north", northernmost, northernmost_py),
    ("International airports of California, Texas and New York", international, international_py),
    ("City names found in most states", namesakes, namesakes_py),
    ("Seattle's rain by year", rain, rain_py),
    ("Seattle's snow: months and coldest days ($facet)", snow, snow_py),
    ("What a share became worth", growth, growth_py),
    ("The best barley of each site", barley, barley_py),
    ("Renewable electricity in Iowa, in percent", renewables, renewables_py),
    ("Deaths in the Los Angeles riots", riots, riots_py),
]
